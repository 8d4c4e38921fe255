//! A report as GitHub renders it.

use super::columns::{Layout, Names};
use super::summary::Summary;
use super::text_grid::Grid;
use super::{explain, labels, samplers};
use imbalance::shown::is_obeyed;

/// The report in GitHub-flavoured Markdown.
#[must_use]
pub fn render(summary: &Summary) -> String {
    let layout = Layout::of(summary);
    let mut title = layout.title().into_iter();
    let mut text = format!("### {}\n", escape(&title.next().unwrap_or_default()));
    for line in title {
        text += &format!("\n{}\n", escape(&line));
    }
    for data in 0..summary.data.len() {
        let (grid, rows) = layout.ranking(data, Names::Apart);
        if rows.is_empty() {
            continue;
        }
        if let Some(title) = layout.data_title(data) {
            text += &format!("\n#### {}\n", escape(&title));
        }
        text += &format!("\n{}", table(&grid));
    }
    let notes = layout.footnotes();
    if !notes.is_empty() {
        text += &format!("\n{}", notes.iter().map(|note| format!("- {}\n", escape(note))).collect::<String>());
    }
    for data in 0..summary.data.len() {
        if let Some(grid) = samplers::grid(summary, data) {
            let set = layout.data_title(data).map_or_else(String::new, |title| format!(": {title}"));
            text += &format!("\n**{}{}**\n\n{}", samplers::TITLE, escape(&set), table(&grid));
        }
    }
    let chosen = |data: usize| labels::chosen(summary, data).map_or_else(String::new, |words| format!(" ({})", escape(&words)));
    for row in summary.rows.iter().filter(|row| !row.baseline && !row.labels.is_empty()) {
        let rank = row.rank.map_or_else(|| "–".to_owned(), |rank| rank.to_string());
        let (name, chosen) = (escape(&layout.name(row)), chosen(row.data));
        text += &format!("\n**{rank}. {name}**{chosen}\n\n{}", table(&Layout::labels(row)));
    }
    if let Some(why) = &summary.why {
        text += "\n**Why**\n\n";
        text += &explain::lines(why).iter().map(|line| format!("- {}\n", escape(line))).collect::<String>();
    }
    text
}

/// A table.
#[must_use]
pub fn table(grid: &Grid) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(grid.heads.iter().map(|head| escape(&head.title)).collect());
    text += &line(grid.heads.iter().map(|head| if head.right { "---:" } else { ":---" }.to_owned()).collect());
    for row in &grid.rows {
        text += &line(row.iter().map(|cell| escape(cell.trim())).collect());
    }
    text
}

/// Text that stays text: labels may contain anything.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (at, letter) in text.char_indices() {
        // An underscore inside a word is no emphasis.
        let inside = |at: usize| text.get(at..).and_then(|rest| rest.chars().next()).is_some_and(char::is_alphanumeric);
        let plain = letter == '_'
            && at > 0
            && text.get(..at).and_then(|start| start.chars().last()).is_some_and(char::is_alphanumeric)
            && inside(at + 1);
        if "\\|*<>[]#_".contains(letter) && !plain && !(letter == '#' && text == "#") {
            escaped.push('\\');
        }
        escaped.push(if is_obeyed(letter) { ' ' } else { letter });
    }
    escaped
}
