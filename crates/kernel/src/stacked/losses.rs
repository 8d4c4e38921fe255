//! The losses of networks of one layer, in the panels that the product leaves: each column is a label of a run.

use imbalance::loss::lanes::{Lane, Lanes};
use imbalance::vectorized;

use super::{PANEL, Rows};

/// The losses of the runs' labels, a panel of columns each.
pub struct Losses {
    /// None where no run's loss is evaluated here.
    panels: Vec<Panel>,
    labels: usize,
    /// Of each run, whether its loss is evaluated here.
    here: Vec<bool>,
}

struct Panel {
    lanes: Lanes<PANEL>,
    /// The label of the first lane.
    label: usize,
    /// All bits where a lane has a loss here, none where its logits are left as they are.
    own: [u32; PANEL],
}

/// Sums over some rows, by column.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// What the cells cost.
    pub cost: [f64; PANEL],
    /// Their slopes.
    pub slope: [f32; PANEL],
    /// Not 0 where a slope is NaN or infinite.
    pub broken: [u32; PANEL],
}

impl Losses {
    /// `lanes` are those of each run, one a label; `None`: the run's loss is evaluated elsewhere.
    #[must_use]
    pub fn new(runs: &[Option<Vec<Lane>>], labels: usize) -> Self {
        let column = |run: &Option<Vec<Lane>>| match run {
            Some(lanes) => lanes.iter().map(|&lane| Some(lane)).collect(),
            None => vec![None; labels],
        };
        let columns: Vec<Option<Lane>> = runs.iter().flat_map(column).collect();
        let panel = |(panel, columns): (usize, &[Option<Lane>])| Panel {
            lanes: Lanes::new(&columns.iter().map(|lane| lane.unwrap_or_default()).collect::<Vec<_>>()),
            label: panel * PANEL % labels.max(1),
            own: std::array::from_fn(|at| if columns.get(at).is_some_and(Option::is_some) { u32::MAX } else { 0 }),
        };
        let here: Vec<bool> = runs.iter().map(Option::is_some).collect();
        let panels = if here.contains(&true) { columns.chunks(PANEL).enumerate().map(panel).collect() } else { Vec::new() };
        Self { panels, labels, here }
    }

    /// Whether the loss of `run` is evaluated here.
    #[must_use]
    pub fn has(&self, run: usize) -> bool {
        self.here[run]
    }

    /// Each run's mean loss over `rows` rows, from the sums of some of them after the other; NaN where a slope is NaN or infinite,
    /// and of a run whose loss is evaluated elsewhere.
    #[must_use]
    pub fn means(&self, sums: &[Vec<Sums>], rows: usize) -> Vec<f64> {
        let column = |column: usize| {
            let (panel, lane) = (column / PANEL, column % PANEL);
            let broken = sums.iter().any(|sums| sums[panel].broken[lane] != 0);
            if broken { f64::NAN } else { sums.iter().map(|sums| sums[panel].cost[lane]).sum::<f64>() }
        };
        let mean = |run: usize| (run * self.labels..(run + 1) * self.labels).map(column).sum::<f64>();
        let cells = (rows * self.labels) as f64;
        self.here.iter().enumerate().map(|(run, &here)| if here { mean(run) / cells } else { f64::NAN }).collect()
    }

    /// Turns logits that lack their bias (one a column) into slopes of the loss, times `share`. `targets` (`[rows, labels]`) are
    /// those of the rows. Returns the sums of each panel.
    #[must_use]
    pub fn evaluate(&self, rows: &mut Rows<'_>, bias: &[f32], targets: &[u8], share: f32) -> Vec<Sums> {
        if self.panels.is_empty() {
            return Vec::new();
        }
        // Each row's targets go round until a panel that begins at any label finds its own side by side.
        let round = self.labels + PANEL;
        let cyclic: Vec<u8> =
            targets.chunks_exact(self.labels.max(1)).flat_map(|row| row.iter().copied().cycle().take(round)).collect();
        let evaluate = |(at, panel): (usize, &Panel)| {
            let mut own_bias = [0.0; PANEL];
            own_bias.iter_mut().zip(&bias[at * PANEL..]).for_each(|(own, &bias)| *own = bias);
            let targets = cyclic.chunks_exact(round).map(|row| &row[panel.label..][..PANEL]);
            panel.evaluate(rows.panel(at), own_bias, targets, share)
        };
        self.panels.iter().enumerate().map(evaluate).collect()
    }
}

impl Panel {
    fn evaluate<'t>(
        &self,
        rows: &mut [[f32; PANEL]],
        bias: [f32; PANEL],
        targets: impl Iterator<Item = &'t [u8]>,
        share: f32,
    ) -> Sums {
        if self.own == [0; PANEL] {
            return Sums::default();
        }
        vectorized(
            #[inline(always)]
            || {
                let mut sums = Sums::default();
                for (row, targets) in rows.iter_mut().zip(targets) {
                    let (mut z, mut y) = (*row, [0; PANEL]);
                    y.copy_from_slice(targets);
                    for lane in 0..PANEL {
                        z[lane] += bias[lane];
                    }
                    let cost = self.lanes.cost(&mut z, y, share);
                    for lane in 0..PANEL {
                        sums.cost[lane] += f64::from(cost[lane]);
                        sums.slope[lane] += z[lane];
                        sums.broken[lane] |= u32::from(!z[lane].is_finite());
                        row[lane] = f32::from_bits(z[lane].to_bits() & self.own[lane] | row[lane].to_bits() & !self.own[lane]);
                    }
                }
                sums
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Shared;
    use imbalance::loss::Form;
    use imbalance::loss::form::Side;
    use imbalance::rng::Rng;

    /// Columns of three runs over five labels, the second of which has its loss elsewhere: costs, slopes and their sums are the
    /// form's, and what belongs to others stays.
    #[test]
    fn each_column_has_its_own_loss() {
        let (labels, rows) = (5, 70);
        let mut rng = Rng::new(5, "losses", &[]);
        let form =
            |gamma: f64, weight: f64| Form::new(Side::positive(gamma, vec![weight; labels]), Side::negative(gamma, 1.0, labels));
        let forms = [form(0.0, 3.0), form(1.0, 1.0), form(2.0, 7.0), form(0.5, 2.0)];
        let runs = [forms[0].lanes(), None, forms[2].lanes(), forms[3].lanes()];
        let losses = Losses::new(&runs, labels);
        assert_eq!((0..4).map(|run| losses.has(run)).collect::<Vec<_>>(), [true, false, true, true]);
        let none = Losses::new(&[None, None], labels);
        assert!(!none.has(1) && none.means(&[Vec::new()], rows).iter().all(|mean| mean.is_nan()));
        let columns = super::super::panels(runs.len() * labels) * PANEL;
        let before: Vec<f32> = (0..columns * rows).map(|_| rng.normal() as f32).collect();
        let bias: Vec<f32> = (0..runs.len() * labels).map(|_| rng.normal() as f32).collect();
        let targets: Vec<u8> = (0..labels * rows).map(|_| (3.0 * rng.uniform()) as u8).collect();
        let mut z = before.clone();
        let shared = Shared::new(&mut z);
        // SAFETY: nobody else has these rows.
        let sums = losses.evaluate(&mut unsafe { Rows::new(&shared, rows, 0..rows) }, &bias, &targets, 0.5);
        let at = |column: usize, row: usize| (column / PANEL * rows + row) * PANEL + column % PANEL;
        for column in 0..runs.len() * labels {
            let (run, label) = (column / labels, column % labels);
            let (mut cost, mut slope) = (0.0, 0.0);
            for row in 0..rows {
                let place = at(column, row);
                if runs[run].is_none() {
                    assert_eq!(z[place], before[place]);
                    continue;
                }
                let y = targets[row * labels + label];
                let term = forms[run].term(label, (before[place] + bias[column]).into(), y == 1, 1.0);
                let (value, expected) = if y == imbalance::loss::IGNORED { (0.0, 0.0) } else { (term.value, 0.5 * term.slope) };
                assert!((f64::from(z[place]) - expected).abs() <= 2e-6 * expected.abs().max(0.01), "{} for {expected}", z[place]);
                (cost, slope) = (cost + value, slope + expected);
            }
            if runs[run].is_some() {
                let sums = &sums[column / PANEL];
                let lane = column % PANEL;
                assert!((sums.cost[lane] - cost).abs() <= 1e-6 * cost && (f64::from(sums.slope[lane]) - slope).abs() <= 1e-4);
                assert_eq!(sums.broken[lane], 0);
            }
        }
        let means = losses.means(&[sums.clone(), sums.clone()], 2 * rows);
        let first = (0..labels).map(|column| sums[column / PANEL].cost[column % PANEL]).sum::<f64>();
        assert!((means[0] - first / (labels * rows) as f64).abs() < 1e-12 && means[1].is_nan());
    }
}
