//! A report for people: the ranking, then the labels of each shown row.

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, LineStyle, Row as Line, Table, TableStyle};

use super::columns::{Layout, Names};
use super::fitting::{fits, fitted};
use super::illustrated::{self, Drawn, Pictures};
use super::pictures::Blocks;
use super::summary::Summary;
use super::text_grid::{Grid, percent, wrap};
use super::{explain, labels as label_lines, samplers};
use imbalance::shown::{cut, escape};

/// A rule below the heads, two blanks between columns.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─'));

/// Emphasis of a line on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    Plain,
    Bold,
    Dim,
}

/// The report; `style`: bold and dim text; `width`: columns to fit the ranking into; `blocks`: pictures where there is room for them.
#[must_use]
pub fn render(summary: &Summary, style: bool, width: u16, blocks: Option<Blocks>) -> String {
    let layout = Layout::of(summary);
    let mut text: String = layout.title().iter().map(|line| paragraph(line, width)).collect();
    let mut drawn = Drawn::default();
    for data in 0..summary.data.len() {
        let (mut grid, rows) = layout.ranking(data, Names::Apart);
        if rows.is_empty() {
            continue;
        }
        let weights: Vec<Weight> = rows.iter().map(|row| weight(row.is_strategy(), row.rank)).collect();
        let mut title: Vec<String> = layout.data_title(data).into_iter().collect();
        let prevalence = || format!("prevalence {}, mean over labels", percent(summary.data[data].prevalence));
        let pictures = blocks.map(|blocks| Pictures::of(summary, &layout, &rows, blocks));
        let illustrated = pictures.and_then(|pictures| {
            // A column that is the same in every row gives way to pictures.
            let whole = pictures.beside(&grid, width.into());
            let some = || pictures.beside(&grid.clone().without("prevalence"), width.into());
            whole.filter(|(_, drawn)| drawn.bars || !pictures.have_bars()).or_else(some)
        });
        if let Some((with, pictures)) = illustrated {
            if !with.heads.iter().any(|head| head.title == "prevalence") {
                title.push(prevalence());
            }
            drawn = Drawn { bars: drawn.bars || pictures.bars, curves: drawn.curves || pictures.curves };
            grid = with;
        }
        // Where the screen is narrow, the column that is the same in every row goes first, then the names share one.
        if grid.width() > usize::from(width) {
            grid = grid.without("prevalence");
            title.push(prevalence());
            if !fits(&grid, width.into()) {
                grid = layout.ranking(data, Names::Joined).0.without("prevalence");
                if !fits(&grid, width.into()) {
                    // A name and its value part only where there is no other way.
                    grid.rows.iter_mut().for_each(|row| row[1] = row[1].replace('\u{a0}', " "));
                }
            }
        }
        title.push(draw(&grid, &weights, style, Some(width)));
        text += &format!("\n{}\n", title.join("\n"));
    }
    let notes = layout
        .footnotes()
        .into_iter()
        .chain(blocks.into_iter().flat_map(|blocks| illustrated::footnotes(summary, drawn, blocks)));
    let notes: String = notes.map(|note| paragraph(&note, width)).collect();
    if !notes.is_empty() {
        text += &format!("\n{notes}");
    }
    for data in 0..summary.data.len() {
        if let Some(grid) = samplers::grid(summary, data) {
            let set = layout.data_title(data).map_or_else(String::new, |title| format!(": {title}"));
            let grid = if fits(&grid, width.into()) { grid } else { grid.transposed() };
            let title = paragraph(&format!("{}{set}", samplers::TITLE), width);
            text += &format!("\n{title}{}\n", draw(&grid, &[], style, Some(width)));
        }
        text += &labels(&layout, summary, data, width);
    }
    if let Some(why) = &summary.why {
        text += "\nwhy\n";
        for line in explain::lines(why) {
            text += &(wrap(&line, usize::from(width.min(120)) - 4).join("\n    ") + "\n");
        }
    }
    text
}

/// Wrapped lines, each with its end.
fn paragraph(text: &str, width: u16) -> String {
    wrap(text, width.min(120).into()).join("\n") + "\n"
}

fn weight(strategy: bool, rank: Option<usize>) -> Weight {
    match (strategy, rank) {
        (false, _) => Weight::Dim,
        (true, Some(1)) => Weight::Bold,
        _ => Weight::Plain,
    }
}

/// The labels of a data set's strategies: one table, a line with the row's name before each of its parts. The baseline has none: its
/// precision is the prevalence, its recall 1.
fn labels(layout: &Layout, summary: &Summary, data: usize, width: u16) -> String {
    let here = || summary.rows.iter().filter(|row| row.data == data);
    let described: Vec<_> = here().filter(|row| !row.baseline && !row.labels.is_empty()).collect();
    if !described.iter().any(|row| row.is_strategy()) {
        return String::new();
    }
    let mut all = Grid::default();
    for row in &described {
        let grid = Layout::labels(row);
        all.heads = grid.heads;
        all.rows.extend(grid.rows.into_iter().map(|mut cells| {
            cells[0] = format!("\u{a0}\u{a0}\u{a0}{}", cells[0]);
            cells
        }));
    }
    let all = narrowed(all, width.into());
    let drawn = draw(&all, &[], false, None);
    let mut lines = drawn.lines();
    let set = layout.data_title(data).map_or_else(String::new, |title| format!(": {title}"));
    let mut text = format!("\nper label, means over the runs of a row, rarest first{set}\n");
    for line in lines.by_ref().take(2) {
        text += &format!("{line}\n");
    }
    for row in &described {
        let rank = row.rank.map_or_else(|| "–".to_owned(), |rank| rank.to_string());
        let rank = if row.is_strategy() { format!("#{rank}") } else { format!("({rank})") };
        text += &paragraph(&format!("{rank} {}{}", layout.name(row), runs(&row.runs)), width);
        for line in lines.by_ref().take(row.labels.len()) {
            text += &format!("{line}\n");
        }
    }
    let left = here().filter(|row| row.is_strategy() && row.labels.is_empty() && layout.leader(row).is_none()).count();
    if left > 0 {
        text += &paragraph(
            &format!("labels of the other {left} rows: `sweep report` with --top N, --format csv or --format json"),
            width,
        );
    }
    text + &label_lines::chosen(summary, data).map_or_else(String::new, |words| paragraph(&words, width))
}

/// Runs that a row's name is followed by.
const RUNS: usize = 5;

/// `; runs 1d0c77e4, 9b01aa20`: what `show`, `export` and `predict` take.
fn runs(fingerprints: &[String]) -> String {
    let short: Vec<&str> = fingerprints.iter().take(RUNS).map(|run| run.get(..8).unwrap_or(run)).collect();
    match fingerprints.len() {
        0 => String::new(),
        1 => format!("; run {}", short[0]),
        n if n > RUNS => format!("; {n} runs: {}, ...", short.join(", ")),
        _ => format!("; runs {}", short.join(", ")),
    }
}

/// A table of labels that fits a narrow screen: without the share that is predicted, and with names cut in the middle.
fn narrowed(grid: Grid, width: usize) -> Grid {
    if grid.width() <= width {
        return grid;
    }
    let mut grid = grid.without("predicted");
    let over = grid.width().saturating_sub(width);
    let names = grid.widths().first().map_or(0, |names| names.saturating_sub(over)).max(20);
    grid.rows.iter_mut().for_each(|row| row[0] = cut(&row[0], names));
    grid
}

/// A grid as text without trailing blanks; `weights` are those of its rows; no `width`: as wide as it is. What does not fit into `width`
/// is wrapped, or stands below in a table of its own ([`fitted`]).
#[must_use]
pub fn draw(grid: &Grid, weights: &[Weight], style: bool, width: Option<u16>) -> String {
    let clean = |cells: &Vec<String>| cells.iter().map(|cell| escape(cell).into_owned()).collect();
    let grid = Grid { heads: grid.heads.clone(), rows: grid.rows.iter().map(clean).collect() };
    let tables = match width {
        Some(width) => fitted(&grid, usize::from(width)),
        None => vec![grid],
    };
    tables.iter().map(|table| lines(table, weights, style)).collect::<Vec<_>>().join("\n\n")
}

/// The lines of one table.
fn lines(grid: &Grid, weights: &[Weight], style: bool) -> String {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Disabled);
    if style {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let cell = |text: &str, right: bool, weight: Weight| {
        let cell = Cell::new(text).set_alignment(if right { CellAlignment::Right } else { CellAlignment::Left });
        match weight {
            _ if !style => cell,
            Weight::Plain => cell,
            Weight::Bold => cell.add_attribute(Attribute::Bold),
            Weight::Dim => cell.add_attribute(Attribute::Dim),
        }
    };
    table.set_header(grid.heads.iter().map(|head| cell(&escape(&head.title), head.right, Weight::Plain)));
    for (at, row) in grid.rows.iter().enumerate() {
        let weight = weights.get(at).copied().unwrap_or(Weight::Plain);
        table.add_row(Line::from(row.iter().zip(&grid.heads).map(|(text, head)| cell(text, head.right, weight))));
    }
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    // Cells keep their columns with no-break spaces; on the screen they are blanks.
    let rule = grid.width();
    let line = |line: String| match line.chars().all(|letter| letter == '─') {
        // The rule ends where the table does.
        true => "─".repeat(rule),
        false => line.replace('\u{a0}', " ").trim_end().to_owned(),
    };
    table.lines().map(line).collect::<Vec<_>>().join("\n")
}
