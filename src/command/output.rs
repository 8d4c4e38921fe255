//! Output on stdout: text, one JSON value, tables. A closed pipe (`| head`) is not an error.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};
use serde::Serialize;

use crate::error::Error;
use crate::report::wrap;
use data::Untrainable;
use imbalance::shown;
pub use plan::words::{bytes, counted, thousands};

/// Width that tables are made for.
pub const WIDTH: usize = 100;
/// Most characters of a label's name in a table.
const NAME: usize = 26;

/// Writes to stdout and flushes. Control characters are escaped, except the program's own styles. A closed pipe is ignored; a full disk
/// is an error.
///
/// # Errors
/// Stdout cannot be written.
pub fn print(text: &str) -> Result<(), Error> {
    let ours = super::report::styled() && io::stdout().is_terminal();
    raw(&if ours { Cow::Owned(shown::styled(text)) } else { shown::lines(text) })
}

/// Writes text as it is.
///
/// # Errors
/// Stdout cannot be written.
pub fn raw(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => Err(Error::Io { path: PathBuf::from("stdout"), source }),
        _ => Ok(()),
    }
}

/// Writes one JSON value, indented.
///
/// # Errors
/// Stdout cannot be written.
pub fn print_json(value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::Unexpected(error.to_string()))?;
    raw(&(shown::json(&text).into_owned() + "\n"))
}

/// A table without borders: a rule below the header, two blanks between columns, `left` columns of text, then numbers.
pub struct TextTable {
    table: Table,
    left: usize,
}

impl TextTable {
    /// An empty table with this header.
    #[must_use]
    pub fn new<S: AsRef<str>>(left: usize, header: impl IntoIterator<Item = S>) -> Self {
        let mut table = Table::new();
        table.load_style(TableStyle::new().header_separator(LineStyle::none().fill('─'))).force_no_tty();
        let mut grid = Self { table, left };
        let cells = grid.cells(header);
        grid.table.set_header(cells);
        grid
    }

    /// Adds a row.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let cells = self.cells(cells);
        self.table.add_row(cells);
    }

    fn cells<S: AsRef<str>>(&self, texts: impl IntoIterator<Item = S>) -> Vec<Cell> {
        let align = |(at, text): (usize, S)| {
            let side = if at < self.left { CellAlignment::Left } else { CellAlignment::Right };
            Cell::new(shown::escape(text.as_ref())).set_alignment(side)
        };
        texts.into_iter().enumerate().map(align).collect()
    }
}

impl std::fmt::Display for TextTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in self.table.lines() {
            // Text starts at the margin of the text around the table, and the rule ends where the table does.
            let line = line.strip_prefix([' ', '─']).unwrap_or(&line);
            writeln!(f, "{}", line.strip_suffix('─').unwrap_or(line).trim_end())?;
        }
        Ok(())
    }
}

/// Rows of numbers below names, in as many tables below each other as the width needs, about equally wide; each repeats the rows'
/// names. `cells(row, column)` are the numbers.
#[must_use]
pub fn matrix(corner: &str, rows: &[String], columns: &[String], cells: impl Fn(usize, usize) -> String) -> String {
    let names = rows.iter().map(|name| name.chars().count()).chain([corner.chars().count()]).max().unwrap_or(0);
    let width = |column: usize| {
        let numbers = (0..rows.len()).map(|row| cells(row, column).chars().count()).max().unwrap_or(0);
        2 + numbers.max(columns[column].chars().count())
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let tables = widths.iter().sum::<usize>().div_ceil(WIDTH.saturating_sub(names).max(1)).max(1);
    let (mut text, mut start) = (String::new(), 0);
    while start < columns.len() {
        let most = columns.len().div_ceil(tables);
        let (mut end, mut total) = (start, names);
        while end < columns.len() && (end == start || end - start < most && total + widths[end] <= WIDTH) {
            total += widths[end];
            end += 1;
        }
        let shown = start..end;
        let mut grid = TextTable::new(1, std::iter::once(corner).chain(columns[shown.clone()].iter().map(String::as_str)));
        for (row, name) in rows.iter().enumerate() {
            grid.row(std::iter::once(name.clone()).chain(shown.clone().map(|column| cells(row, column))));
        }
        if start > 0 {
            text.push('\n');
        }
        text.push_str(&grid.to_string());
        start = end;
    }
    text
}

/// Lines of `name  number  text` with wrapped text, which commands print above their tables.
#[derive(Default)]
pub struct Facts {
    lines: Vec<[String; 3]>,
}

impl Facts {
    /// Adds a line; an empty name continues the line before.
    pub fn add(&mut self, name: &str, number: impl Into<String>, words: impl Into<String>) {
        let words = shown::escape(&words.into()).into_owned();
        self.lines.push([name.to_owned(), number.into(), words]);
    }
}

impl std::fmt::Display for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = |at: usize| self.lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
        let (names, numbers) = (width(0), width(1));
        let indent = names + numbers + 4;
        for [name, number, words] in &self.lines {
            let mut lines = wrap(words, WIDTH - indent.min(WIDTH / 2)).into_iter();
            let first = lines.next().unwrap_or_default();
            writeln!(f, "{}", format!("{name:<names$}  {number:>numbers$}  {first}").trim_end())?;
            for line in lines {
                writeln!(f, "{:indent$}{line}", "")?;
            }
        }
        Ok(())
    }
}

/// Why `sweep run` refuses the data, with the lines of TOML that make it usable as they are to be pasted.
#[must_use]
pub fn refused(found: &Untrainable) -> String {
    let Untrainable { place, reasons, remedy, .. } = found;
    let words = shown::escape(&format!("`sweep run` refuses the data ({place}): {}", reasons.join("; "))).into_owned();
    let (toml, end) = (found.toml(), if remedy.is_empty() { "" } else { ". " });
    let text = wrap(&format!("{words}{end}{remedy}{}", if toml.is_empty() { "" } else { ":" }), WIDTH).join("\n");
    if toml.is_empty() { text + "\n" } else { format!("{text}\n\n{toml}\n") }
}

/// A name that fits a column: a long one is cut in the middle, control characters are escaped.
#[must_use]
pub fn fit(name: &str) -> String {
    shown::cut(name, NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_no_borders_and_aligns_numbers_right() {
        let mut grid = TextTable::new(1, ["label", "n"]);
        grid.row(["A", "5"]);
        grid.row(["a longer one", "1,234"]);
        assert_eq!(grid.to_string(), "label             n\n───────────────────\nA                 5\na longer one  1,234\n");
    }

    #[test]
    fn a_wide_matrix_is_cut_into_tables_that_fit() {
        let names: Vec<String> = (0..30).map(|label| format!("label {label}")).collect();
        let text = matrix("", &names, &names, |row, column| (row * column).to_string());
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        let begin = |with: &str| text.lines().filter(|line| line.starts_with(with)).count();
        assert_eq!((begin("label 29"), begin("─")), (4, 4));
        // 30 numbers, once each.
        let last = text.lines().filter(|line| line.starts_with("label 29"));
        let numbers: Vec<&str> = last.flat_map(|line| line.split_whitespace().skip(2)).collect();
        assert_eq!(numbers, (0..30).map(|column| (29 * column).to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn facts_are_aligned_and_wrapped() {
        let mut facts = Facts::default();
        facts.add("runs", "36", "of them none");
        facts.add("", "1,000", "word ".repeat(40).trim_end());
        let text = facts.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "runs     36  of them none");
        assert!(lines[1].starts_with("      1,000  word word"));
        assert!(lines[2].starts_with("             word"));
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert_eq!(text.matches("word").count(), 40);
    }

    #[test]
    fn a_long_name_is_cut_in_the_middle() {
        assert_eq!(fit("Pleural_Thickening"), "Pleural_Thickening");
        let cut = fit("a very long label that never seems to come to an end");
        assert_eq!(cut.chars().count(), NAME);
        assert!(cut.starts_with("a very long") && cut.ends_with("an end"), "{cut}");
    }
}
