//! What the terminal on stdout can draw.

use std::io::IsTerminal;

use crate::report::Blocks;

/// What pictures on stdout are made of: nothing where it is no terminal. ASCII where that is asked for or the locale is not UTF-8. A terminal that
/// calls itself dumb is a log, an editor or a screen reader: pictures only where they are asked for.
pub(super) fn blocks(ascii: bool) -> Option<Blocks> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
    let dumb = set("TERM").is_some_and(|term| term == "dumb");
    std::io::stdout().is_terminal().then(|| of(ascii, dumb, locale.as_deref())).flatten()
}

/// The same of a terminal; `locale`: the first of the variables that is set. Where none is, as in most containers, terminals are UTF-8.
fn of(ascii: bool, dumb: bool, locale: Option<&str>) -> Option<Blocks> {
    let is_utf8 = |locale: &str| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    };
    match ascii {
        true => Some(Blocks::Ascii),
        false if dumb => None,
        false => Some(if locale.is_none_or(is_utf8) { Blocks::Unicode } else { Blocks::Ascii }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_suit_the_terminal() {
        for (ascii, dumb, locale, expected) in [
            (false, false, Some("en_GB.UTF-8"), Some(Blocks::Unicode)),
            (false, false, Some("C.utf8"), Some(Blocks::Unicode)),
            (false, false, None, Some(Blocks::Unicode)),
            (false, false, Some("C"), Some(Blocks::Ascii)),
            (false, false, Some("de_DE.ISO-8859-1"), Some(Blocks::Ascii)),
            (true, false, Some("en_GB.UTF-8"), Some(Blocks::Ascii)),
            (false, true, Some("en_GB.UTF-8"), None),
            (true, true, Some("en_GB.UTF-8"), Some(Blocks::Ascii)),
        ] {
            assert_eq!(of(ascii, dumb, locale), expected, "{ascii} {dumb} {locale:?}");
        }
    }
}
