//! What a cell of a label's column says.

/// A label's cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    Zero,
    One,
    /// Empty, or one of the ways in which pandas writes that nothing is known.
    Blank,
    /// -1: uncertain, or a 0.
    MinusOne,
    Other,
}

/// What pandas reads as missing.
const MISSING: [&str; 10] = ["nan", "-nan", "na", "n/a", "#n/a", "<na>", "null", "none", "nat", "#na"];

/// How the file spells 0 and 1, besides numbers and `true` and `false`.
#[derive(Clone, Debug, Default)]
pub struct Spelling<'c> {
    pub negative: &'c [String],
    pub positive: &'c [String],
    /// Every comma in a number is a decimal one: where cells are not separated by commas.
    pub decimal_comma: bool,
}

impl Spelling<'_> {
    /// What `text`, without blanks around it, says.
    pub fn read(&self, text: &str) -> Cell {
        if !self.negative.is_empty() && self.among(self.negative, text) {
            return Cell::Zero;
        }
        if !self.positive.is_empty() && self.among(self.positive, text) {
            return Cell::One;
        }
        match text {
            "0" => return Cell::Zero,
            "1" => return Cell::One,
            "" => return Cell::Blank,
            _ => {}
        }
        match self.number(text) {
            Some(0.0) => Cell::Zero,
            Some(1.0) => Cell::One,
            Some(-1.0) => Cell::MinusOne,
            Some(_) => Cell::Other,
            None if text.eq_ignore_ascii_case("false") => Cell::Zero,
            None if text.eq_ignore_ascii_case("true") => Cell::One,
            None if MISSING.iter().any(|missing| text.eq_ignore_ascii_case(missing)) => Cell::Blank,
            None => Cell::Other,
        }
    }

    /// The number that `text` is, if it is one.
    pub fn number(&self, text: &str) -> Option<f64> {
        // Words such as `inf` and `nan` parse as numbers and are none.
        if !text.bytes().any(|byte| byte.is_ascii_digit()) {
            return None;
        }
        // Of three digits after a comma nobody knows whether they are thousands.
        let comma =
            |text: &str| text.rsplit_once(',').is_some_and(|(_, digits)| self.decimal_comma || (1..=2).contains(&digits.len()));
        text.parse().ok().or_else(|| comma(text).then(|| text.replacen(',', ".", 1).parse().ok()).flatten())
    }

    fn among(&self, spellings: &[String], text: &str) -> bool {
        let number = self.number(text);
        let same = |spelling: &String| {
            let spelling = spelling.trim();
            spelling.to_lowercase() == text.to_lowercase() || (number.is_some() && self.number(spelling) == number)
        };
        spellings.iter().any(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zeros_and_ones_are_read_in_every_spelling() {
        let plain = Spelling::default();
        for zero in ["0", "0.0", "0.00", "-0.0", "+0", "0e0", "0.000000000000000000e+00", "False", "FALSE", "00", "0,0"] {
            assert_eq!(plain.read(zero), Cell::Zero, "{zero}");
        }
        for one in ["1", "1.0", "1.000000000000000000e+00", "+1", "10e-1", "true", "TRUE", "01"] {
            assert_eq!(plain.read(one), Cell::One, "{one}");
        }
        for blank in ["", "nan", "NaN", "NA", "N/A", "<NA>", "None", "null", "#N/A"] {
            assert_eq!(plain.read(blank), Cell::Blank, "{blank}");
        }
        for minus in ["-1", "-1.0", "-1e0"] {
            assert_eq!(plain.read(minus), Cell::MinusOne, "{minus}");
        }
        for other in ["yes", "no", "x", "2", "0.1", "0,5", "inf", "-inf", "1,000", "t", "1 0", "0x1", "1.0000001", "-2"] {
            assert_eq!(plain.read(other), Cell::Other, "{other}");
        }
        let comma = Spelling { decimal_comma: true, ..Spelling::default() };
        assert_eq!(
            [comma.read("0,0"), comma.read("1,000"), comma.read("0,5"), comma.read("-1,0")],
            [Cell::Zero, Cell::One, Cell::Other, Cell::MinusOne]
        );
    }

    #[test]
    fn spellings_of_the_user_come_first() {
        let (negative, positive) =
            (vec!["no".to_owned(), String::new(), "-1".to_owned()], vec!["Yes".to_owned(), "x".to_owned()]);
        let own = Spelling { negative: &negative, positive: &positive, decimal_comma: false };
        for (text, cell) in [
            ("NO", Cell::Zero),
            ("", Cell::Zero),
            ("-1.0", Cell::Zero),
            ("yes", Cell::One),
            ("X", Cell::One),
            ("nan", Cell::Blank),
            ("1", Cell::One),
            ("y", Cell::Other),
        ] {
            assert_eq!(own.read(text), cell, "{text}");
        }
    }

    proptest! {
        /// Every way of writing a number gives what the number is.
        #[test]
        fn a_number_is_what_it_equals(value in prop_oneof![Just(0.0f64), Just(1.0), Just(-1.0), Just(-0.0), -3.0..3.0f64], digits in 0..20usize, upper in any::<bool>()) {
            let text = if upper { format!("{value:.digits$e}").to_uppercase() } else { format!("{value:.digits$}") };
            let read: f64 = text.parse().unwrap();
            let want = if read == 0.0 { Cell::Zero } else if read == 1.0 { Cell::One } else if read == -1.0 { Cell::MinusOne } else { Cell::Other };
            prop_assert_eq!(Spelling::default().read(&text), want);
        }
    }
}
