//! Foreign text on a screen. Labels, cells, file names, keys and the words of workers come from files that anybody may have written:
//! an escape sequence in them would move the cursor or paint over other lines, a bidirectional mark turns a line around, and a cell
//! of 50 MB fills the terminal. Pure.

use std::borrow::Cow;

/// Characters of foreign text in a sentence.
pub const LONG: usize = 80;

/// `text` for a sentence: on one line, what a terminal would obey is escaped, and what is long is cut in the middle.
#[must_use]
pub fn shown(text: &str) -> String {
    cut(text, LONG)
}

/// [`shown`] with another length.
#[must_use]
pub fn cut(text: &str, most: usize) -> String {
    // Of a text of megabytes only both ends are looked at.
    if text.chars().nth(most).is_none() {
        let escaped = escape(text);
        if escaped.chars().nth(most).is_none() {
            return escaped.into_owned();
        }
    }
    let head = most / 2;
    let tail = most.saturating_sub(head + 1);
    let (mut first, mut last) = (String::new(), Vec::new());
    let mut room = head;
    for letter in text.chars() {
        let escaped: String = Escaped::new(letter).collect();
        let Some(rest) = room.checked_sub(escaped.chars().count()) else { break };
        first.push_str(&escaped);
        room = rest;
    }
    room = tail;
    for letter in text.chars().rev() {
        let escaped: String = Escaped::new(letter).collect();
        let Some(rest) = room.checked_sub(escaped.chars().count()) else { break };
        last.push(escaped);
        room = rest;
    }
    first.push('…');
    first.extend(last.into_iter().rev());
    first
}

/// All of `text` on one line: what a terminal would obey is escaped.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    unless(text, |_| false)
}

/// Lines of ours with foreign text somewhere in them, as the last thing before a screen: line breaks and tabs stay, everything else
/// that a terminal would obey is escaped.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    unless(text, |letter| letter == '\n' || letter == '\t')
}

/// Whether a spreadsheet would run a cell with this text. It takes numbers for numbers.
#[must_use]
pub fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) && text.parse::<f64>().is_err()
}

/// Characters of a line of an error.
const LINE: usize = 4000;

/// An error or a warning: as [`lines`], each of a length that can be read.
#[must_use]
pub fn message(text: &str) -> String {
    text.split('\n').map(|line| cut(line, LINE)).collect::<Vec<_>>().join("\n")
}

/// As [`lines`], for text that we have made bold or dim ourselves: these escape codes stay, others do not.
#[must_use]
pub fn styled(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\u{1b}[") {
        let (before, code) = rest.split_at(at);
        clean.push_str(&lines(before));
        let end = code[2..].find(|letter: char| !letter.is_ascii_digit() && letter != ';').map_or(code.len(), |end| end + 2);
        let whole = code[end..].starts_with('m');
        if whole {
            clean.push_str(&code[..=end])
        } else {
            clean.push_str(&lines(&code[..end]))
        }
        rest = &code[if whole { end + 1 } else { end }..];
    }
    clean + &lines(rest)
}

/// JSON text of the same value, in which a terminal finds nothing to obey.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|letter| is_obeyed(letter) && letter != '\n') {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        // Between the values there are line breaks only; what else is obeyed is inside of a string.
        if is_obeyed(letter) && letter != '\n' {
            letter.encode_utf16(&mut [0; 2]).iter().for_each(|unit| clean.push_str(&format!("\\u{unit:04x}")));
        } else {
            clean.push(letter);
        }
    }
    Cow::Owned(clean)
}

fn unless(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(|letter| is_obeyed(letter) && !stays(letter)) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if stays(letter) { clean.push(letter) } else { clean.extend(Escaped::new(letter)) }
    }
    Cow::Owned(clean)
}

/// Whether a terminal or an editor obeys the character instead of drawing it: control characters (C0, DEL, C1), line and paragraph
/// separators, bidirectional marks, byte order marks, tags.
#[must_use]
pub fn is_obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
        || matches!(letter, '\u{e0000}'..='\u{e007f}')
}

/// A character as it is, or as `\n`, `\u{1b}`.
enum Escaped {
    Plain(std::iter::Once<char>),
    Escape(std::char::EscapeDefault),
}

impl Escaped {
    fn new(letter: char) -> Self {
        if is_obeyed(letter) { Self::Escape(letter.escape_default()) } else { Self::Plain(std::iter::once(letter)) }
    }
}

impl Iterator for Escaped {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self {
            Self::Plain(letter) => letter.next(),
            Self::Escape(letters) => letters.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_words_stay() {
        for plain in ["Pleural, Thickening", "é", "日本語", "a\u{200d}b", "N/A \\ \"x\""] {
            assert_eq!(shown(plain), plain);
            assert_eq!(lines(plain), plain);
        }
        assert_eq!(shown("\u{1b}[31m\u{7}\u{9b}2J\r\n\t\0\u{7f}"), "\\u{1b}[31m\\u{7}\\u{9b}2J\\r\\n\\t\\u{0}\\u{7f}");
        for bidi in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}').chain(['\u{200e}', '\u{200f}', '\u{61c}']) {
            assert_eq!(shown(&bidi.to_string()), format!("\\u{{{:x}}}", u32::from(bidi)));
        }
        assert_eq!(lines("one\n\ttwo\u{1b}c\r"), "one\n\ttwo\\u{1b}c\\r");
        assert_eq!(message(&format!("a\u{7}\nb{}", "c".repeat(9000))).chars().count(), 6 + 1 + LINE);
    }

    #[test]
    fn our_own_styles_stay_and_no_other_codes() {
        let ours = "\u{1b}[1mbold\u{1b}[0m plain \u{1b}[38;5;1mred";
        assert_eq!(styled(ours), ours);
        assert_eq!(styled("\u{1b}[2J\u{1b}]0;title\u{7}\u{1b}[1"), "\\u{1b}[2J\\u{1b}]0;title\\u{7}\\u{1b}[1");
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({ "a\u{9b}": ["\u{202e}x\u{e0041}", "é \u{1b} \n", 1.5] });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let clean = json(&text);
        assert!(!clean.chars().any(|letter| is_obeyed(letter) && letter != '\n'), "{clean}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&clean).unwrap(), value);
    }

    #[test]
    fn long_text_is_cut_in_the_middle() {
        let just = "x".repeat(LONG);
        assert_eq!(shown(&just), just);
        let cut = shown(&format!("begin{}end", "x".repeat(50_000_000)));
        assert_eq!(cut.chars().count(), LONG);
        assert!(cut.starts_with("begin") && cut.contains('…') && cut.ends_with("end"), "{cut}");
        for long in ["\u{1b}".repeat(79), "\u{202e}".repeat(1000), format!("{}\u{0}", "é".repeat(80))] {
            let cut = shown(&long);
            assert!(cut.chars().count() <= LONG && cut.contains('…') && !cut.chars().any(is_obeyed), "{cut}");
        }
    }
}
