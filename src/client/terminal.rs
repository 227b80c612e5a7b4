//! Text, tables and colors on standard output, and progress on a terminal.
//!
//! Output is colored only on a terminal, and not if `NO_COLOR` is set. Progress is drawn on standard error, and only if
//! that is a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use ::console::Term;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table as Cells};
use indicatif::{ProgressBar, ProgressStyle};

use crate::model::text::{printable, printable_json, printable_lines};
use crate::stdout;

/// Interval at which progress is drawn.
pub(super) const TICK: Duration = Duration::from_millis(120);

/// Prints text to standard output. If that fails, the program exits: nobody reads the rest.
pub(super) fn print(text: &str) {
    if let Err(error) = stdout::write(text) {
        // The reader of a pipe may simply have read enough.
        if error.kind() != io::ErrorKind::BrokenPipe {
            warn(&format!("failed to print: {error}"));
        }
        std::process::exit(1);
    }
}

/// Prints JSON, on a terminal with control characters escaped.
pub(super) fn print_json(json: &str) {
    if is_attended() {
        print(&printable_json(json));
    } else {
        print(json);
    }
}

/// Prints a message for people to standard error, with the program's name in front.
pub(super) fn warn(text: &str) {
    // There is nowhere left to report a failure.
    _ = writeln!(io::stderr(), "pollbal: {}", printable_lines(text));
}

/// How text is highlighted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Style {
    #[default]
    Plain,
    Title,
    Good,
    Warning,
    Error,
}

/// Whether output is colored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Colors(bool);

impl Colors {
    /// Whether standard output shows colors.
    pub(super) fn of_stdout() -> Self {
        // Ignores `CLICOLOR_FORCE`, which would put escape sequences into pipes.
        Self(Term::stdout().features().colors_supported())
    }

    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self(false)
    }

    #[cfg(test)]
    pub(super) fn always() -> Self {
        Self(true)
    }

    pub(super) fn paint(self, style: Style, text: &str) -> String {
        let ansi = match style {
            Style::Plain => return text.to_owned(),
            Style::Title => ::console::Style::new().bold(),
            Style::Good => ::console::Style::new().green(),
            Style::Warning => ::console::Style::new().yellow(),
            Style::Error => ::console::Style::new().red(),
        };
        ansi.force_styling(self.0).apply_to(text).to_string()
    }
}

/// A table with a title row.
pub(super) struct Table {
    cells: Cells,
    styles: Vec<Style>,
}

impl Table {
    pub(super) fn new(titles: &[&str]) -> Self {
        let mut cells = Cells::new();
        cells.load_style(NOTHING);
        cells.set_header(titles);
        Self {
            cells,
            styles: vec![Style::Title],
        }
    }

    /// Adds a row. Control characters, which nodes and people may have written, are escaped.
    pub(super) fn row(&mut self, style: Style, cells: &[String]) {
        self.cells.add_row(cells.iter().map(|cell| printable(cell)));
        self.styles.push(style);
    }

    /// The table, one line per row; the columns in `numbers` are aligned right.
    pub(super) fn render(mut self, numbers: &[usize], colors: Colors) -> String {
        for (index, column) in self.cells.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            if numbers.contains(&index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut text = String::new();
        for (line, style) in self.cells.lines().zip(self.styles) {
            text += &colors.paint(style, line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A line that shows what is waited for, on a terminal only.
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

    /// Whether standard error is no terminal.
    pub(super) fn is_hidden(&self) -> bool {
        self.0.is_hidden()
    }

    pub(super) fn set_message(&self, text: &str) {
        self.0.set_message(printable(text));
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// The number of columns of the terminal on which progress is drawn.
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
            Style::Plain,
            &["api".to_owned(), "6".to_owned(), String::new()],
        );
        let row = [
            "a-long-one".to_owned(),
            "10".to_owned(),
            "v\x1b[2J1".to_owned(),
        ];
        table.row(Style::Error, &row);
        table
    }

    #[test]
    fn columns_are_aligned_and_control_characters_escaped() {
        let expected = "\
POOL        MEMBERS  VERSIONS
api               6
a-long-one       10  v\\u{1b}[2J1
";
        assert_eq!(table().render(&[1], Colors::none()), expected);
    }

    #[test]
    fn a_line_has_the_color_of_its_style() {
        let text = table().render(&[1], Colors::always());
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("\x1b[1mPOOL"), "{text:?}");
        assert!(lines[1].starts_with("api"), "{text:?}");
        assert!(lines[2].starts_with("\x1b[31m") && lines[2].ends_with("\x1b[0m"));
    }
}
