//! Text from outside, made safe to show.

use std::fmt::Write;

/// The text with everything escaped that is not visible as what it is: control characters, line and
/// paragraph separators, what changes the direction of writing, and what is invisible. For a log
/// line, a terminal, or the comment of a pool file.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_visible(c) {
            shown.push(c);
        } else {
            // Nothing fails to be written into a `String`.
            _ = write!(shown, "{}", c.escape_default());
        }
    }
    shown
}

/// The same for a text of several lines, which stay lines.
#[must_use]
pub fn printable_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(printable).collect();
    lines.join("\n")
}

/// The same for JSON, which stays the same JSON.
#[must_use]
pub fn printable_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        // Outside of strings there is nothing but visible characters and ends of lines.
        if c == '\n' || is_visible(c) {
            shown.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                _ = write!(shown, "\\u{unit:04x}");
            }
        }
    }
    shown
}

/// The beginning of a text, printable, and fit to stand between quotation marks.
#[must_use]
pub fn quotable(text: &str, chars: usize) -> String {
    let escaped: String = text
        .chars()
        .take(chars)
        .flat_map(char::escape_debug)
        .collect();
    printable(&escaped)
}

/// The text without the byte order mark that some editors put in front of a file.
#[must_use]
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Whether it is visible, and changes nothing but its own place.
fn is_visible(c: char) -> bool {
    match c {
        ' '..='~' => true,
        // Marks that show nothing by themselves, and fillers that are drawn as blanks: the standard
        // library counts the first as parts of the letter before, the others as letters.
        '\u{34f}'
        | '\u{115f}'
        | '\u{1160}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200c}'
        | '\u{2800}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{ffa0}'
        | '\u{e0000}'..='\u{e0fff}' => false,
        c => is_printable(c),
    }
}

/// What the standard library would show as it is, anywhere but at the start of a text.
fn is_printable(c: char) -> bool {
    let mut buffer = [b'x'; 5];
    let length = c.encode_utf8(&mut buffer[1..]).len();
    let pair = str::from_utf8(&buffer[..=length]).unwrap_or_default();
    pair.escape_debug().nth(1) == Some(c)
}

/// The beginning of the text, at most this number of characters.
#[must_use]
pub fn shortened(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_as_what_it_is_is_escaped() {
        let cases = [
            ("\u{1b}[2J\r\n\t\0", "\\u{1b}[2J\\r\\n\\t\\u{0}"),
            ("a\u{202e}b\u{2066}c", "a\\u{202e}b\\u{2066}c"),
            ("a\u{2028}b\u{2029}c\u{85}", "a\\u{2028}b\\u{2029}c\\u{85}"),
            (
                "\u{feff}we\u{200b}b\u{ad}\u{2060}",
                "\\u{feff}we\\u{200b}b\\u{ad}\\u{2060}",
            ),
            ("a\u{a0}b\u{3000}c", "a\\u{a0}b\\u{3000}c"),
            (
                "a\u{e0041}b\u{fe0f}\u{200d}\u{200c}",
                "a\\u{e0041}b\\u{fe0f}\\u{200d}\\u{200c}",
            ),
            ("\u{3164}\u{2800}", "\\u{3164}\\u{2800}"),
        ];
        for (text, shown) in cases {
            assert_eq!(printable(text), shown);
        }
    }

    #[test]
    fn what_is_visible_stays() {
        for text in ["it's \"a\\b\" {~}", "Zoë e\u{301} Größe 日本 \u{fffd} 😀"] {
            assert_eq!(printable(text), text);
        }
    }

    #[test]
    fn lines_stay_lines_and_json_the_same_json() {
        assert_eq!(printable_lines("a\u{1b}\nb\n"), "a\\u{1b}\nb\n");
        let text = "a\u{202e}\u{2028}\u{7f}\u{9b}\u{e0041}é\\\"";
        let json = serde_json::to_string_pretty(&[text]).unwrap();
        let shown = printable_json(&json);
        assert_eq!(
            shown,
            "[\n  \"a\\u202e\\u2028\\u007f\\u009b\\udb40\\udc41é\\\\\\\"\"\n]"
        );
        let read: [String; 1] = serde_json::from_str(&shown).unwrap();
        assert_eq!(read, [text]);
    }

    #[test]
    fn a_byte_order_mark_counts_only_in_front() {
        assert_eq!(without_mark("\u{feff}a\u{feff}"), "a\u{feff}");
        assert_eq!(without_mark("a"), "a");
    }
}
