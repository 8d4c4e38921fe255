//! Values as Python writes them. Names of labels and sweeps are foreign text: they stay inside of their literal or comment whatever they
//! contain.

use std::fmt::Write as _;

use imbalance::shown;

/// Columns of a line, as the formatter Black has them.
const WIDTH: usize = 88;

/// A string literal of the same text: `"Pleural \"effusion\""`.
#[must_use]
pub fn string(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => literal.extend(['\\', letter]),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            ' '..='~' => literal.push(letter),
            letter if letter.is_alphanumeric() => literal.push(letter),
            // Writing to a string does not fail.
            letter if u32::from(letter) > 0xffff => drop(write!(literal, "\\U{:08x}", u32::from(letter))),
            letter => drop(write!(literal, "\\u{:04x}", u32::from(letter))),
        }
    }
    literal.push('"');
    literal
}

/// A float literal of the same value: `0.5`, `1e-7`, `10.0`.
#[must_use]
pub fn float(number: f64) -> String {
    match number {
        number if number.is_nan() => "float(\"nan\")".to_owned(),
        number if number.is_infinite() => format!("float(\"{number}\")"),
        number => format!("{number:?}"),
    }
}

/// A float literal that Python reads as a double and torch rounds to the same float32: the shortest there is.
#[must_use]
pub fn float32(number: f32) -> String {
    let short = format!("{number:?}");
    // A double between two float32 may be rounded twice.
    let same = short.parse::<f64>().is_ok_and(|double| (double as f32).to_bits() == number.to_bits());
    if same { short } else { float(number.into()) }
}

/// `NAME = [a, b]`, or `NAME = torch.tensor([a, b])` with `open` and `close` in the places of the brackets: on one line where it fits, else
/// in lines that are filled.
#[must_use]
pub fn list(name: &str, (open, close): (&str, &str), items: &[String]) -> String {
    let line = format!("{name} = {open}{}{close}", items.join(", "));
    if line.chars().count() <= WIDTH {
        return line;
    }
    let mut text = format!("{name} = {open}\n   ");
    let mut column = 3;
    for item in items {
        let width = item.chars().count() + 2;
        if column > 3 && column + width > WIDTH {
            text.push_str("\n   ");
            column = 3;
        }
        text.push(' ');
        text.push_str(item);
        text.push(',');
        column += width;
    }
    text.push('\n');
    text.push_str(close);
    text
}

/// `NAME = torch.tensor([...])`.
#[must_use]
pub fn tensor(name: &str, items: &[String]) -> String {
    list(name, ("torch.tensor([", "])"), items)
}

/// Comment lines of this text, filled. What would end a line, or what an editor obeys, is written out.
#[must_use]
pub fn comment(text: &str) -> String {
    let text = shown::escape(text);
    let (mut lines, mut line) = (String::new(), "#".to_owned());
    for word in text.split(' ') {
        if line.len() > 1 && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push_str(&line);
            lines.push('\n');
            line = "#  ".to_owned();
        }
        line.push(' ');
        line.push_str(word);
    }
    lines + line.trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [&str; 8] = [
        "\"\"\"\nimport os  # \\",
        "it's \\N{BULLET} \\u0041",
        "a\u{202e}b\u{2066}c\u{200f}",
        "\u{0}\u{7f}\u{9b}\u{85}\u{2028}\u{2029}\u{feff}\u{c}\u{b}\u{1c}",
        "日本語 é naïve",
        "🫁 \u{e0041}",
        "\r\n\t{{ x }} {% y %} {x}",
        "",
    ];

    #[test]
    fn literals_are_as_python_reads_them() {
        let literals = HOSTILE.map(string);
        assert_eq!(literals[0], r##""\"\"\"\nimport os  # \\""##);
        assert_eq!(literals[1], r#""it's \\N{BULLET} \\u0041""#);
        assert_eq!(literals[2], r#""a\u202eb\u2066c\u200f""#);
        assert_eq!(literals[3], r#""\u0000\u007f\u009b\u0085\u2028\u2029\ufeff\u000c\u000b\u001c""#);
        assert_eq!((literals[4].as_str(), literals[5].as_str()), ("\"日本語 é naïve\"", r#""\U0001fac1 \U000e0041""#));
        for literal in literals {
            assert!(!literal.chars().any(|letter| letter.is_control() || shown::is_obeyed(letter)), "{literal:?}");
        }
        assert_eq!([1.0, 1e-7, 0.1 + 0.2].map(float), ["1.0", "1e-7", "0.30000000000000004"]);
        let mut rng = imbalance::rng::Rng::new(1, "float32", &[]);
        for _ in 0..100_000 {
            let number = f32::from_bits(rng.next_u32());
            let read = float32(number).parse::<f64>();
            assert!(!number.is_finite() || read.is_ok_and(|read| (read as f32).to_bits() == number.to_bits()), "{number:e}");
        }
    }

    #[test]
    fn a_comment_is_a_comment_whatever_it_says() {
        for text in HOSTILE {
            let lines = comment(&format!("sweep {text} of {}", "a long text ".repeat(20)));
            assert!(lines.lines().count() > 2);
            assert!(lines.lines().all(|line| line.starts_with('#') && !line.contains(|letter: char| letter.is_control())));
            // Python's own line ends are LF and CR.
            assert!(!lines.contains('\r'));
        }
        assert_eq!(comment("one"), "# one");
    }

    #[test]
    fn long_lists_are_filled() {
        assert_eq!(tensor("A", &["1.0", "2.0"].map(str::to_owned)), "A = torch.tensor([1.0, 2.0])");
        let long = tensor("A", &vec!["0.1234".to_owned(); 40]);
        assert!(long.starts_with("A = torch.tensor([\n    0.1234, 0.1234, ") && long.ends_with("0.1234,\n])"), "{long}");
        assert!(long.lines().all(|line| line.len() <= WIDTH));
    }
}
