//! The pictures of one run: its learning curves, and a bar for the F1 of each label. Pure.

use super::pictures::{Blocks, Scale, bar, sparkline};
use super::show::{EpochLine, LabelLine};
use super::text_grid::{Grid, Head};

/// Most characters of a curve.
const CURVE: usize = 60;
/// Characters of the words around a curve.
const WORDS: usize = 60;
/// Characters of a bar.
const BAR: usize = 10;

/// What pictures of a run are made of, and the columns that they fit into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canvas {
    pub blocks: Blocks,
    pub width: u16,
}

impl Canvas {
    /// A line for each quantity that has a value in more than one epoch; empty without any.
    #[must_use]
    pub fn curves(self, epochs: &[EpochLine]) -> String {
        let width = usize::from(self.width).saturating_sub(WORDS).clamp(1, CURVE);
        let curve = |(name, of): (&str, fn(&EpochLine) -> Option<f64>)| {
            let values: Vec<Option<f64>> = epochs.iter().map(|line| of(line).filter(|value| value.is_finite())).collect();
            let defined = || values.iter().zip(epochs).filter_map(|(value, line)| Some(((*value)?, line.epoch.epoch)));
            let scale = Scale::of(defined().map(|(value, _)| value)).filter(|_| defined().count() > 1)?;
            let at = |wanted: f64| defined().find(|(value, _)| *value == wanted).map_or(0, |(_, epoch)| epoch);
            let (low, high, picture) = (at(scale.low), at(scale.high), sparkline(&values, scale, width, self.blocks));
            Some(format!("{name:<12}  {picture}  {:.4} (epoch {low}) to {:.4} (epoch {high})\n", scale.low, scale.high))
        };
        let lines: String = [
            ("val macro_ap", (|line| line.macro_ap) as fn(&EpochLine) -> Option<f64>),
            ("train loss", |line| line.epoch.train_loss),
            ("val loss", |line| line.epoch.val_loss),
        ]
        .into_iter()
        .filter_map(curve)
        .collect();
        match lines.is_empty() || epochs.len() <= width {
            true => lines,
            false => format!("{lines}each character is the highest of {} epochs or more\n", epochs.len() / width),
        }
    }

    /// The table of labels with a bar behind the F1 of each, where that fits.
    #[must_use]
    pub fn with_bars(self, mut grid: Grid, rows: &[&LabelLine]) -> Grid {
        let place = grid.heads.iter().position(|head| head.title == "f1");
        let Some(at) = place.filter(|_| grid.width() + BAR + 2 <= self.width.into()) else { return grid };
        grid.heads.insert(at + 1, Head::new(format!("0{}1", self.blocks.dash()), false));
        for (cells, line) in grid.rows.iter_mut().zip(rows) {
            cells.insert(at + 1, bar(line.row.f1, 0.0, Scale { low: 0.0, high: 1.0 }, BAR, self.blocks));
        }
        grid
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::EpochRow;

    fn epochs(macro_ap: &[f64]) -> Vec<EpochLine> {
        let line = |(epoch, &value): (usize, &f64)| EpochLine {
            epoch: EpochRow {
                epoch: epoch as i64,
                train_loss: Some(1.0 - value),
                val_loss: None,
                learning_rate: None,
                seconds: None,
                images_per_s: None,
            },
            macro_ap: Some(value),
            best: false,
        };
        macro_ap.iter().enumerate().map(line).collect()
    }

    #[test]
    fn curves_say_where_they_are_lowest_and_highest() {
        let canvas = Canvas { blocks: Blocks::Unicode, width: 100 };
        assert_eq!(
            canvas.curves(&epochs(&[0.5, 0.75, 0.7])),
            "val macro_ap  ▁█▇  0.5000 (epoch 0) to 0.7500 (epoch 1)\ntrain loss    █▁▂  0.2500 (epoch 1) to 0.5000 (epoch 0)\n"
        );
        assert_eq!(canvas.curves(&epochs(&[0.5])), "", "a point is no curve");
        assert_eq!(canvas.curves(&[]), "");
    }

    #[test]
    fn curves_fit_and_say_so() {
        let many: Vec<f64> = (0..200).map(|epoch| f64::from(epoch) / 200.0).collect();
        for width in [80, 100, 200] {
            let text = Canvas { blocks: Blocks::Ascii, width }.curves(&epochs(&many));
            assert!(text.lines().all(|line| line.chars().count() <= width.into()), "{text}");
            assert!(text.is_ascii() && text.ends_with(" epochs or more\n"), "{text}");
        }
    }
}
