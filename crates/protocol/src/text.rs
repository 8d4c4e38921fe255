//! Text that another program wrote: cut, and without control characters, before it is kept or shown. Pure.

/// The first `most` characters of `text` with control characters escaped (`\u{1b}`), except line feeds and tabs.
#[must_use]
pub fn plain(text: &str, most: usize) -> String {
    let mut plain = String::with_capacity(text.len().min(most));
    for (at, character) in text.chars().enumerate() {
        match character {
            _ if at == most => {
                plain.push_str(" ...");
                break;
            }
            '\n' | '\t' => plain.push(character),
            _ if character.is_control() => plain.extend(character.escape_default()),
            _ => plain.push(character),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn control_characters_are_escaped_and_long_text_is_cut() {
        assert_eq!(plain("a\u{1b}[31m\u{7}\u{9b}\0\r\n\tä", 99), "a\\u{1b}[31m\\u{7}\\u{9b}\\u{0}\\r\n\tä");
        assert_eq!(plain("äöü", 3), "äöü");
        assert_eq!(plain("äöüx", 3), "äöü ...");
    }
}
