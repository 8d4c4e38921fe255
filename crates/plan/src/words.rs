//! Numbers, sizes and times for people: the controller and its workers say them alike.

/// `1,234,567`.
#[must_use]
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `812 bytes`, `1.2 MiB`.
#[must_use]
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if number < 1024 {
        return counted(number as usize, "byte");
    }
    let (mut value, mut unit) = (number as f64 / 1024.0, 0);
    while value >= 999.95 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// The bytes of `20GiB`, `1.5 TB`, `500m`: all units are powers of 1,024, as [`bytes`] has them. `None`: it is no size.
#[must_use]
pub fn size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let power = match unit.trim().trim_end_matches("ib").trim_end_matches('b') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    Some((number.parse::<f64>().ok()? * 1024_f64.powi(power)) as u64)
}

/// `1 run`, `2 runs`.
#[must_use]
pub fn counted(number: usize, what: &str) -> String {
    format!("{} {what}{}", thousands(number), if number == 1 { "" } else { "s" })
}

/// `0.5`, `99.9`, `120`.
#[must_use]
pub fn rate(number: f64) -> String {
    if number >= 100.0 { format!("{number:.0}") } else { format!("{number:.1}") }
}

/// `45 s`, `3m 05s`, `2h 10m`.
#[must_use]
pub fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_short_and_numbers_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1, 1024, 1_048_576, 5_000_000_000].map(bytes), ["0 bytes", "1 byte", "1.0 KiB", "1.0 MiB", "4.7 GiB"]);
        let sizes = ["0", "812 bytes", "500", "500b", "1.5KiB", "20 GB", "2t", "GiB", "-1", "1.2.3", "5 m"].map(size);
        let none = None;
        assert_eq!(sizes[..6], [Some(0), none, Some(500), Some(500), Some(1536), Some(20 << 30)]);
        assert_eq!(sizes[6..], [Some(2 << 40), none, none, none, Some(5 << 20)]);
        assert_eq!([counted(1, "run"), counted(1000, "run")], ["1 run", "1,000 runs"]);
        assert_eq!([0.51, 99.94, 120.3].map(rate), ["0.5", "99.9", "120"]);
        assert_eq!([0.4, 59.4, 185.0, 7800.0].map(span), ["0 s", "59 s", "3m 05s", "2h 10m"]);
    }
}
