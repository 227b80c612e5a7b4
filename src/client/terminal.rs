//! What is shown: text, tables and colours on standard output, progress on a terminal.
//!
//! Colours are for a terminal alone, and not where `NO_COLOR` is set. What moves is drawn on standard
//! error, and only where that is a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use ::console::{Style, Term};
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table as Cells};
use indicatif::{ProgressBar, ProgressStyle};

use crate::model::text::{printable, printable_json, printable_lines};
use crate::stdout;

/// How often what moves is drawn.
pub(super) const TICK: Duration = Duration::from_millis(120);

/// Prints a text. When nobody reads it any more there is nothing left to do.
pub(super) fn print(text: &str) {
    if let Err(error) = stdout::write(text) {
        // The reader of a pipe may have seen enough.
        if error.kind() != io::ErrorKind::BrokenPipe {
            warn(&format!("failed to print: {error}"));
        }
        std::process::exit(1);
    }
}

/// Prints JSON: where people look, so that it shows what it is.
pub(super) fn print_json(json: &str) {
    if is_attended() {
        print(&printable_json(json));
    } else {
        print(json);
    }
}

/// Says on standard error what a person must know.
pub(super) fn warn(text: &str) {
    say(&format!("pollbal: {text}"));
}

/// The same, where the text says itself who speaks.
pub(super) fn say(text: &str) {
    // Nobody could be told that it failed.
    _ = writeln!(io::stderr(), "{}", printable_lines(text));
}

/// How good a piece of news is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Title,
    Good,
    Notable,
    Bad,
}

/// Whether there are colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(bool);

impl Paint {
    /// As it is right for standard output.
    pub(super) fn of_stdout() -> Self {
        // Whatever forces colours elsewhere (`CLICOLOR_FORCE`), here it does not.
        Self(Term::stdout().features().colors_supported())
    }

    /// No colours.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self(false)
    }

    /// Colours, wherever it is printed.
    #[cfg(test)]
    pub(super) fn always() -> Self {
        Self(true)
    }

    pub(super) fn tone(self, tone: Tone, text: &str) -> String {
        let style = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Title => Style::new().bold(),
            Tone::Good => Style::new().green(),
            Tone::Notable => Style::new().yellow(),
            Tone::Bad => Style::new().red(),
        };
        style.force_styling(self.0).apply_to(text).to_string()
    }
}

/// Rows under a title, in columns.
pub(super) struct Table {
    cells: Cells,
    tones: Vec<Tone>,
}

impl Table {
    pub(super) fn new(titles: &[&str]) -> Self {
        let mut cells = Cells::new();
        cells.load_style(NOTHING);
        cells.set_header(titles);
        Self {
            cells,
            tones: vec![Tone::Title],
        }
    }

    /// Adds a row. What nodes and people have written is made harmless.
    pub(super) fn row(&mut self, tone: Tone, cells: &[String]) {
        self.cells.add_row(cells.iter().map(|cell| printable(cell)));
        self.tones.push(tone);
    }

    /// The table, a line for each row; columns of numbers end in line.
    pub(super) fn render(mut self, numbers: &[usize], paint: Paint) -> String {
        for (index, column) in self.cells.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            if numbers.contains(&index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut text = String::new();
        for (line, tone) in self.cells.lines().zip(self.tones) {
            text += &paint.tone(tone, line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A line that says what is waited for; there is none but on a terminal.
pub(super) struct Spinner(ProgressBar);

impl Spinner {
    pub(super) fn start() -> Self {
        // Without a terminal it draws nothing.
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>3} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// Whether nobody sees it.
    pub(super) fn is_hidden(&self) -> bool {
        self.0.is_hidden()
    }

    pub(super) fn say(&self, text: &str) {
        self.0.set_message(printable(text));
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// How many columns there are where what moves is drawn.
pub(super) fn width() -> usize {
    Term::stderr().size().1.into()
}

/// Whether standard output is a terminal.
pub(super) fn is_attended() -> bool {
    io::stdout().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["POOL", "MEMBERS", "VERSIONS"]);
        table.row(
            Tone::Plain,
            &["api".to_owned(), "6".to_owned(), String::new()],
        );
        let row = [
            "a-long-one".to_owned(),
            "10".to_owned(),
            "v\x1b[2J1".to_owned(),
        ];
        table.row(Tone::Bad, &row);
        table
    }

    #[test]
    fn columns_stand_in_line_and_control_characters_are_gone() {
        let expected = "\
POOL        MEMBERS  VERSIONS
api               6
a-long-one       10  v\\u{1b}[2J1
";
        assert_eq!(table().render(&[1], Paint::none()), expected);
    }

    #[test]
    fn a_line_has_the_colour_of_its_tone() {
        let text = table().render(&[1], Paint::always());
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("\x1b[1mPOOL"), "{text:?}");
        assert!(lines[1].starts_with("api"), "{text:?}");
        assert!(lines[2].starts_with("\x1b[31m") && lines[2].ends_with("\x1b[0m"));
    }
}
