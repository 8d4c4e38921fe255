//! A report for people: the ranking, then the labels of each shown row.

use comfy_table::{
    Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Row as Line, Table, TableStyle, Width,
};

use super::columns::Layout;
use super::summary::Summary;
use super::text_grid::{Grid, percent, wrap};
use super::{explain, samplers};
use imbalance::shown::escape;

/// A rule below the heads, two blanks between columns.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─'));

/// Emphasis of a line on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    Plain,
    Bold,
    Dim,
}

/// The report; `style`: bold and dim text; `width`: columns to fit the ranking into.
#[must_use]
pub fn render(summary: &Summary, style: bool, width: u16) -> String {
    let layout = Layout::of(summary);
    let mut text = layout.title().join("\n") + "\n";
    for data in 0..summary.data.len() {
        let (grid, rows) = layout.ranking(data);
        if rows.is_empty() {
            continue;
        }
        let weights: Vec<Weight> = rows.iter().map(|row| weight(row.is_strategy(), row.rank)).collect();
        let mut title: Vec<String> = layout.data_title(data).into_iter().collect();
        // Where the screen is narrow, the column that is the same in every row goes first.
        let narrow = grid.width() > usize::from(width);
        let grid = if narrow { grid.without("prevalence") } else { grid };
        if narrow {
            title.push(format!("prevalence {}, mean over labels", percent(summary.data[data].prevalence)));
        }
        title.push(draw(&grid, &weights, style, Some(width)));
        text += &format!("\n{}\n", title.join("\n"));
    }
    let notes: Vec<String> = layout.footnotes().iter().flat_map(|note| wrap(note, usize::from(width.min(120)))).collect();
    if !notes.is_empty() {
        text += &format!("\n{}\n", notes.join("\n"));
    }
    for data in 0..summary.data.len() {
        if let Some(grid) = samplers::grid(summary, data) {
            let set = layout.data_title(data).map_or_else(String::new, |title| format!(": {title}"));
            text += &format!("\n{}{set}\n{}\n", samplers::TITLE, draw(&grid, &[], style, None));
        }
        text += &labels(&layout, summary, data);
    }
    if let Some(why) = &summary.why {
        text += "\nwhy\n";
        for line in explain::lines(why) {
            text += &(wrap(&line, usize::from(width.min(120)) - 4).join("\n    ") + "\n");
        }
    }
    text
}

fn weight(strategy: bool, rank: Option<usize>) -> Weight {
    match (strategy, rank) {
        (false, _) => Weight::Dim,
        (true, Some(1)) => Weight::Bold,
        _ => Weight::Plain,
    }
}

/// The labels of a data set's rows: one table, a line with the row's name before each of its parts.
fn labels(layout: &Layout, summary: &Summary, data: usize) -> String {
    let described: Vec<_> = summary.rows.iter().filter(|row| row.data == data && !row.labels.is_empty()).collect();
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
    let drawn = draw(&all, &[], false, None);
    let mut lines = drawn.lines();
    let mut text = format!(
        "\nper label, means over the runs of a row{}\n",
        layout.data_title(data).map_or_else(String::new, |title| format!(": {title}"))
    );
    for line in lines.by_ref().take(2) {
        text += &format!("{line}\n");
    }
    for row in &described {
        let rank = row.rank.map_or_else(|| "–".to_owned(), |rank| rank.to_string());
        text += &format!("{} {}\n", if row.is_strategy() { format!("#{rank}") } else { format!("({rank})") }, layout.name(row));
        for line in lines.by_ref().take(row.labels.len()) {
            text += &format!("{line}\n");
        }
    }
    let left = summary.rows.iter().filter(|row| row.data == data && row.is_strategy() && row.labels.is_empty()).count();
    if left > 0 {
        text += &format!("labels of the other {left} rows: `sweep report` with --top N, --format csv or --format json\n");
    }
    text
}

/// A grid as text without trailing blanks; `weights` are those of its rows; no `width`: as wide as it is.
#[must_use]
pub fn draw(grid: &Grid, weights: &[Weight], style: bool, width: Option<u16>) -> String {
    let mut table = Table::new();
    table.load_style(STYLE);
    match width {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    if style {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let cell = |text: &str, right: bool, weight: Weight| {
        let cell = Cell::new(escape(text)).set_alignment(if right { CellAlignment::Right } else { CellAlignment::Left });
        match weight {
            _ if !style => cell,
            Weight::Plain => cell,
            Weight::Bold => cell.add_attribute(Attribute::Bold),
            Weight::Dim => cell.add_attribute(Attribute::Dim),
        }
    };
    table.set_header(grid.heads.iter().map(|head| cell(&head.title, head.right, Weight::Plain)));
    for (at, row) in grid.rows.iter().enumerate() {
        let weight = weights.get(at).copied().unwrap_or(Weight::Plain);
        table.add_row(Line::from(row.iter().zip(&grid.heads).map(|(text, head)| cell(text, head.right, weight))));
    }
    // Numbers are never broken: only text wraps where the width is short.
    table.set_constraints(grid.heads.iter().filter(|_| width.is_some()).map(|head| match head.right {
        true => ColumnConstraint::ContentWidth,
        false => ColumnConstraint::LowerBoundary(Width::Fixed(6)),
    }));
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    // Cells keep their columns with no-break spaces; on the screen they are blanks.
    table.lines().map(|line| line.replace('\u{a0}', " ").trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}
