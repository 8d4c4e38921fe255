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
    // Whatever is left of a text of megabytes, it is not the middle: only both ends are looked at.
    let mut ends = text.char_indices().skip(most + 1);
    if ends.next().is_none() {
        let escaped: String = text.chars().flat_map(Escaped::new).collect();
        if escaped.chars().nth(most).is_none() {
            return escaped;
        }
    }
    let head = most * 5 / 8;
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

/// Many lines of ours with foreign text somewhere in them, as the last thing before a screen: line breaks stay, everything else
/// that a terminal would obey is escaped.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    let breaks = |letter: char| letter == '\n' || letter == '\t';
    if !text.chars().any(|letter| is_obeyed(letter) && !breaks(letter)) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if breaks(letter) { clean.push(letter) } else { clean.extend(Escaped::new(letter)) }
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
