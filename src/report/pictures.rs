//! Pictures of numbers that fit into a line of text: sparklines and bars. Pure.

/// What pictures are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocks {
    /// Block elements in steps of an eighth.
    Unicode,
    /// Characters that every terminal has.
    Ascii,
}

/// Steps of a character.
const EIGHTHS: usize = 8;

impl Blocks {
    /// From the lowest to the highest.
    const fn heights(self) -> [char; EIGHTHS] {
        match self {
            Self::Unicode => ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
            Self::Ascii => ['.', ':', '-', '=', '+', '*', '#', '@'],
        }
    }

    /// The lowest and the highest character of a sparkline.
    #[must_use]
    pub fn ends(self) -> (char, char) {
        (self.heights()[0], self.heights()[EIGHTHS - 1])
    }

    /// A bar's full character, and the lighter one.
    #[must_use]
    pub fn shades(self) -> (char, char) {
        match self {
            Self::Unicode => ('█', '░'),
            Self::Ascii => ('#', '-'),
        }
    }

    /// Between the ends of a scale.
    #[must_use]
    pub fn dash(self) -> char {
        match self {
            Self::Unicode => '–',
            Self::Ascii => '-',
        }
    }
}

/// What the two ends of a picture stand for; beyond them is drawn as they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    pub low: f64,
    pub high: f64,
}

impl Scale {
    /// From the lowest to the highest of the values that are finite; `None` without any.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values = values.into_iter().filter(|value| value.is_finite());
        values
            .map(|value| Self { low: value, high: value })
            .reduce(|all, one| Self { low: all.low.min(one.low), high: all.high.max(one.high) })
    }

    /// The whole steps of `of` that `value` fills.
    fn steps(self, value: f64, of: usize) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0) * of as f64
    }

    fn is_flat(self) -> bool {
        self.high <= self.low
    }
}

/// At most `width` values, each the highest of as many neighbours: a spike survives.
#[must_use]
pub fn pooled(values: &[Option<f64>], width: usize) -> Vec<Option<f64>> {
    let parts = values.len().min(width);
    let part = |at: usize| &values[at * values.len() / parts..(at + 1) * values.len() / parts];
    (0..parts).map(|at| part(at).iter().flatten().copied().reduce(f64::max)).collect()
}

/// A character for each value, or for the highest of neighbours where there are more than `width`; a blank for a value that is not
/// defined. Equal values on a scale without height are drawn in its middle.
#[must_use]
pub fn sparkline(values: &[Option<f64>], scale: Scale, width: usize, blocks: Blocks) -> String {
    let heights = blocks.heights();
    let height = |value: f64| match scale.is_flat() {
        true => heights[EIGHTHS / 2 - 1],
        false => heights[(scale.steps(value, EIGHTHS) as usize).min(EIGHTHS - 1)],
    };
    let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
    // A no-break space, which no table trims.
    pooled(values, width).into_iter().map(|value| finite(value).map_or('\u{a0}', height)).collect()
}

/// A bar up to `value`, in steps of an eighth of a character where the characters have them. Where `reach` is more than a character shows, it
/// is solid up to `value - reach` and lighter up to `value + reach`.
#[must_use]
pub fn bar(value: f64, reach: f64, scale: Scale, width: usize, blocks: Blocks) -> String {
    if scale.is_flat() || !value.is_finite() {
        return String::new();
    }
    // ASCII has whole characters only.
    let grain = if blocks == Blocks::Ascii { EIGHTHS } else { 1 };
    let eighths = |value: f64| scale.steps(value, width * EIGHTHS / grain).round() as usize * grain;
    let (mut solid, end) = (eighths(value - reach), eighths(value + reach).div_ceil(EIGHTHS));
    if end <= solid.div_ceil(EIGHTHS) {
        solid = eighths(value);
    }
    let (full, light) = blocks.shades();
    let mut text: Vec<char> = vec![full; solid / EIGHTHS];
    text.extend(['▏', '▎', '▍', '▌', '▋', '▊', '▉'].get((solid % EIGHTHS).wrapping_sub(1)));
    text.resize(text.len().max(end), light);
    text.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UNIT: Scale = Scale { low: 0.0, high: 1.0 };

    fn all(values: &[f64]) -> Vec<Option<f64>> {
        values.iter().copied().map(Some).collect()
    }

    #[test]
    fn a_sparkline_has_eight_heights() {
        let values = all(&[0.0, 0.124, 0.126, 0.3, 0.4, 0.5, 0.7, 0.8, 0.9, 1.0]);
        assert_eq!(sparkline(&values, UNIT, 99, Blocks::Unicode), "▁▁▂▃▄▅▆▇██");
        assert_eq!(sparkline(&values, UNIT, 99, Blocks::Ascii), "..:-=+*#@@");
        let odd = [Some(-3.0), None, Some(7.0), Some(f64::NAN)];
        assert_eq!(sparkline(&odd, UNIT, 99, Blocks::Unicode), "▁\u{a0}█\u{a0}", "beyond the ends, undefined");
        assert_eq!(sparkline(&all(&[0.5, 0.5]), Scale { low: 0.5, high: 0.5 }, 99, Blocks::Unicode), "▄▄");
        assert_eq!(sparkline(&[], UNIT, 99, Blocks::Unicode), "");
    }

    #[test]
    fn neighbours_are_pooled_by_their_highest() {
        let values = all(&[0.1, 0.9, 0.2, 0.3, 0.5, 0.4, 0.0]);
        assert_eq!(pooled(&values, 3), all(&[0.9, 0.3, 0.5]));
        assert_eq!(pooled(&values, 7), values);
        assert_eq!(pooled(&[None, Some(0.5), None, None], 2), [Some(0.5), None]);
        assert_eq!(pooled(&values, 0), []);
    }

    #[test]
    fn a_bar_has_eighths_and_a_lighter_interval() {
        let unicode = |value: f64, reach: f64| bar(value, reach, UNIT, 8, Blocks::Unicode);
        assert_eq!(unicode(0.5, 0.0), "████");
        assert_eq!(unicode(33.0 / 64.0, 0.0), "████▏");
        assert_eq!(unicode(0.5, 0.01), "███▉░", "the end of the interval is in the next character");
        assert_eq!(unicode(35.0 / 64.0, 0.001), "████▍", "an interval within a character is not seen");
        assert_eq!(unicode(0.5, 0.25), "██░░░░");
        assert_eq!(unicode(0.5, 15.0 / 64.0), "██▏░░░");
        assert_eq!(unicode(0.9, 0.3), "████▊░░░", "never beyond the end");
        assert_eq!((unicode(0.0, 0.0), unicode(-1.0, 0.5)), (String::new(), String::new()));
        assert_eq!(unicode(f64::NAN, 0.0), "");
        let ascii = |value: f64, reach: f64| bar(value, reach, UNIT, 8, Blocks::Ascii);
        assert_eq!(
            [ascii(0.5, 0.0), ascii(0.55, 0.0), ascii(0.5, 0.25), ascii(1.0, 0.0)],
            ["####", "####", "##----", "########"]
        );
        assert_eq!(bar(0.5, 0.0, Scale { low: 0.5, high: 0.5 }, 8, Blocks::Unicode), "");
    }

    #[test]
    fn a_scale_leaves_out_what_is_not_finite() {
        assert_eq!(Scale::of([0.5, f64::NAN, 0.25, f64::INFINITY]), Some(Scale { low: 0.25, high: 0.5 }));
        assert_eq!(Scale::of([f64::NAN]), None);
    }

    proptest! {
        #[test]
        fn a_spike_survives(mut values in prop::collection::vec(0.0..0.4_f64, 1..300), at in 0..300_usize, width in 1..40_usize) {
            let at = at % values.len();
            values[at] = 1.0;
            for blocks in [Blocks::Unicode, Blocks::Ascii] {
                let text = sparkline(&all(&values), UNIT, width, blocks);
                let (low, high) = blocks.ends();
                prop_assert_eq!(text.chars().count(), values.len().min(width));
                prop_assert_eq!(text.chars().filter(|&letter| letter == high).count(), 1);
                prop_assert!(low != high && text.chars().all(|letter| blocks.heights().contains(&letter)));
            }
        }

        #[test]
        fn a_bar_stays_within_its_width(value in -1.0..2.0_f64, reach in 0.0..1.0_f64, width in 0..40_usize) {
            for blocks in [Blocks::Unicode, Blocks::Ascii] {
                let length = bar(value, reach, UNIT, width, blocks).chars().count();
                prop_assert!(length <= width);
                prop_assert!(length >= ((value + reach).clamp(0.0, 1.0) * width as f64) as usize);
            }
        }
    }
}
