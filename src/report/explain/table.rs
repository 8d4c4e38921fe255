//! An explanation for people: text for a terminal, and Markdown.

use super::super::markdown;
use super::super::table::draw;
use super::super::text_grid::wrap;
use super::blocks::{Block, blocks};
use super::page::{self, Brevity, LINES, Shown};
use super::view::Explanation;

/// Text of at most `width` columns.
#[must_use]
pub fn render(explanation: &Explanation, shown: &Shown, width: u16) -> String {
    let explanation = page::only(explanation, shown);
    if shown.all {
        return text(blocks(&explanation), width);
    }
    let pages = Brevity::ALL.into_iter().map(|brevity| text(page::blocks(&explanation, shown, brevity), width));
    let mut shortest = String::new();
    for page in pages {
        shortest = page;
        if shortest.lines().count() <= LINES {
            break;
        }
    }
    shortest
}

fn text(blocks: Vec<Block>, width: u16) -> String {
    let columns = usize::from(width).clamp(60, 120);
    let mut text = String::new();
    for (at, block) in blocks.into_iter().enumerate() {
        match block {
            Block::Title(title) if at == 0 => text += &(lines(&title, columns, "", "") + "\n"),
            Block::Title(title) => text += &format!("\n== {title} ==\n"),
            Block::Heading(heading) => text += &format!("\n{}\n", lines(&heading, columns, "", "")),
            Block::Text(words) => text += &(lines(&words, columns, "  ", "  ") + "\n"),
            Block::Item(name, words) => text += &(lines(&format!("{name}: {words}"), columns, "- ", "  ") + "\n"),
            Block::Table(grid) => text += &(draw(&grid, &[], false, Some(width)) + "\n"),
        }
    }
    text
}

/// GitHub-flavoured Markdown.
#[must_use]
pub fn markdown(explanation: &Explanation, shown: &Shown) -> String {
    let explanation = page::only(explanation, shown);
    let all = if shown.all { blocks(&explanation) } else { page::blocks(&explanation, shown, Brevity::Nothing) };
    let mut text = String::new();
    for (at, block) in all.into_iter().enumerate() {
        let gap = if at == 0 || matches!(block, Block::Item(..)) { "" } else { "\n" };
        text += gap;
        match block {
            Block::Title(title) => text += &format!("### {}\n", markdown::escape(&title)),
            Block::Heading(heading) => text += &format!("**{}**\n", markdown::escape(&heading)),
            Block::Text(words) => text += &format!("{}\n", markdown::escape(&words)),
            Block::Item(name, words) => text += &format!("\n- **{}**: {}\n", markdown::escape(&name), markdown::escape(&words)),
            Block::Table(grid) => text += &markdown::table(&grid),
        }
    }
    text
}

/// Wrapped text; the first line begins with `first`, the others with `rest`.
fn lines(text: &str, width: usize, first: &str, rest: &str) -> String {
    let lines = wrap(text, width.saturating_sub(rest.chars().count()));
    let line = |(at, line): (usize, String)| format!("{}{line}", if at == 0 { first } else { rest });
    lines.into_iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}
