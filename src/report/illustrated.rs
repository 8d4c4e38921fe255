//! A ranking with pictures beside its numbers, where the screen is wide enough: a bar of what ranks, the learning curves. Pure.

use std::collections::BTreeSet;

use super::columns::Layout;
use super::pictures::{Blocks, Scale, bar, sparkline};
use super::question::Split;
use super::summary::{Row, Spread, Summary};
use super::text_grid::{Grid, Head};

/// Characters of a bar.
const BAR: usize = 12;
/// Characters of a curve: at least where there are as many evaluations, and at most.
const CURVE: (usize, usize) = (12, 24);
/// Share of the points of all curves that are drawn as the lowest one: most of a curve is near its end, where strategies differ.
const LOWEST: f64 = 0.05;

/// What was drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    pub bars: bool,
    pub curves: bool,
}

/// The pictures of the rows of one data set.
pub struct Pictures<'s> {
    summary: &'s Summary,
    /// As the table has them; those with the results of another have no pictures.
    rows: Vec<(&'s Row, bool)>,
    blocks: Blocks,
    bars: Option<Scale>,
    curves: Option<Scale>,
}

impl<'s> Pictures<'s> {
    /// Pictures of `rows`, which are those of `layout`.
    #[must_use]
    pub fn of(summary: &'s Summary, layout: &Layout<'s>, rows: &[&'s Row], blocks: Blocks) -> Self {
        let rows: Vec<(&Row, bool)> = rows.iter().map(|&row| (row, layout.leader(row).is_none())).collect();
        let leaders: Vec<&Row> = rows.iter().filter(|(_, leads)| *leads).map(|(row, _)| *row).collect();
        Self { bars: bars(summary, &leaders), curves: curves(&leaders), summary, rows, blocks }
    }

    /// Whether there is something that bars can show.
    #[must_use]
    pub fn have_bars(&self) -> bool {
        self.bars.is_some()
    }

    /// `grid` with as many of the pictures as fit into `width` beside all of its columns.
    #[must_use]
    pub fn beside(&self, grid: &Grid, width: usize) -> Option<(Grid, Drawn)> {
        let all = Drawn { bars: self.bars.is_some(), curves: self.curves.is_some() };
        // Where there is no room for both, the table has the numbers of the bars.
        [all, Drawn { bars: false, ..all }].into_iter().filter(|drawn| drawn.bars || drawn.curves).find_map(|drawn| {
            let least = self.with(grid, drawn, CURVE.0);
            let room = width.checked_sub(least.width())?;
            Some((if drawn.curves { self.with(grid, drawn, (CURVE.0 + room).min(CURVE.1)) } else { least }, drawn))
        })
    }

    fn with(&self, grid: &Grid, drawn: Drawn, curve: usize) -> Grid {
        let place = |title: &str| grid.heads.iter().position(|head| head.title == title).map(|at| at + 1);
        let mut grid = grid.clone();
        let metric = self.summary.metric;
        // From right to left: a column that is put in moves those behind it.
        if let (true, Some(scale), Some(at)) = (drawn.curves, self.curves, place("macro_ap")) {
            self.put(&mut grid, at, scale, |row| sparkline(&row.curve, scale, curve, self.blocks));
        }
        if let (true, Some(scale), Some(at)) = (drawn.bars, self.bars, place("held out").or(place(metric))) {
            let picture = |spread: Spread| bar(spread.mean, spread.sd.unwrap_or(0.0), scale, BAR, self.blocks);
            self.put(&mut grid, at, scale, |row| value(self.summary, row).map_or_else(String::new, picture));
        }
        grid
    }

    /// A column of pictures; its head is the scale.
    fn put(&self, grid: &mut Grid, at: usize, scale: Scale, picture: impl Fn(&Row) -> String) {
        grid.heads.insert(at, Head::new(format!("{:.3}{}{:.3}", scale.low, self.blocks.dash(), scale.high), false));
        for (cells, (row, leads)) in grid.rows.iter_mut().zip(&self.rows) {
            cells.insert(at, if *leads { picture(row) } else { String::new() });
        }
    }
}

/// What a bar shows: what ranks on val; on test, which ranks nothing, the value there.
fn value(summary: &Summary, row: &Row) -> Option<Spread> {
    match summary.split {
        Split::Val => row.ranked_by(),
        Split::Test => row.metrics.get(summary.metric).copied(),
    }
}

/// Bars begin where no skill ends, unless no strategy has any. Nothing to compare: no bars.
fn bars(summary: &Summary, rows: &[&Row]) -> Option<Scale> {
    let reach = |row: &&&Row| {
        value(summary, row).map(|Spread { mean, sd, .. }| (mean - sd.unwrap_or(0.0), mean, mean + sd.unwrap_or(0.0)))
    };
    let trained: Vec<(f64, f64, f64)> = rows.iter().filter(|row| !row.baseline).filter_map(|row| reach(&row)).collect();
    let whole = Scale::of(trained.iter().flat_map(|&(low, _, high)| [low, high])).filter(|_| trained.len() > 1)?;
    let floor = floor(summary, rows).filter(|&floor| trained.iter().any(|&(_, mean, _)| mean > floor));
    Some(Scale { low: floor.unwrap_or(whole.low), ..whole }).filter(|scale| scale.high > scale.low)
}

/// The value of the all-positive baseline, where more is better.
fn floor(summary: &Summary, rows: &[&Row]) -> Option<f64> {
    let baseline = rows.iter().find(|row| row.baseline && !summary.lower_is_better)?;
    value(summary, baseline).map(|spread| spread.mean)
}

/// Curves of a single evaluation are no curves.
fn curves(rows: &[&Row]) -> Option<Scale> {
    let longest = rows.iter().map(|row| row.curve.len()).max().unwrap_or(0);
    // Policies of one run share its curve.
    let mut known = BTreeSet::new();
    let distinct = rows.iter().filter(|row| known.insert(&row.runs));
    let mut points: Vec<f64> = distinct.flat_map(|row| row.curve.iter().flatten().copied()).filter(|ap| ap.is_finite()).collect();
    points.sort_by(f64::total_cmp);
    let low = *points.get((points.len() as f64 * LOWEST) as usize)?;
    (longest > 1).then_some(Scale { low, high: *points.last()? })
}

/// How the pictures are to be read.
#[must_use]
pub fn footnotes(summary: &Summary, drawn: Drawn, blocks: Blocks) -> Vec<String> {
    let (full, light) = blocks.shades();
    let mut notes = Vec::new();
    if drawn.bars {
        let floors = (0..summary.data.len()).all(|data| {
            let rows: Vec<&Row> = summary.rows.iter().filter(|row| row.data == data).collect();
            bars(summary, &rows).is_none_or(|scale| floor(summary, &rows) == Some(scale.low))
        });
        let from = if floors { "all-positive" } else { "the lowest" };
        let better = if summary.lower_is_better { "; shorter is better" } else { "" };
        let what = match summary.split {
            Split::Val => "what ranks".to_owned(),
            Split::Test => format!("{} on test", summary.metric),
        };
        notes.push(format!(
            "bars: {what}, on a scale from {from} to the highest (the numbers above); {full} up to mean - sd, {light} up to mean + sd where \
             that shows{better}"
        ));
    }
    if drawn.curves {
        let (lowest, highest) = blocks.ends();
        notes.push(format!(
            "curves: val macro_ap at every evaluation (the highest of several where there are many), mean over the runs; {lowest} and \
             {highest}: the numbers above, or beyond"
        ));
    }
    notes
}
