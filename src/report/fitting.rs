//! A table on a screen that is narrower than it: text is wrapped where it can be read, and columns that do not fit stand below. Pure.

use super::text_grid::Grid;

/// Blanks between columns.
const GAP: usize = 2;
/// Text columns keep this width, or their own where that is less.
const READABLE: usize = 14;
/// A word is broken only where it is longer.
const WORD: usize = 36;
/// Text is broken after these, beside blanks.
const BREAKS: [char; 3] = [',', '+', '/'];

/// The grid in tables of at most `width` columns, one below the other, each with the first column; cells have line breaks where their
/// text is wrapped. Numbers are never wrapped. A table is wider only where its first column and one more are.
#[must_use]
pub fn fitted(grid: &Grid, width: usize) -> Vec<Grid> {
    let mut tables = Vec::new();
    let (natural, least) = (grid.widths(), least(grid));
    let first = least.first().copied().unwrap_or(0);
    let mut rest: Vec<usize> = (1..grid.heads.len()).collect();
    loop {
        let (mut columns, mut used) = (vec![0], first);
        while let Some(&next) = rest.first()
            && (columns.len() == 1 || used + GAP + least[next] <= width)
        {
            columns.push(rest.remove(0));
            used += GAP + least[next];
        }
        let widths = shared(&columns, &natural, &least, width);
        tables.push(wrapped(grid, &columns, &widths));
        if rest.is_empty() {
            return tables;
        }
    }
}

/// Whether the grid fits into `width` columns as one table, its text wrapped.
#[must_use]
pub fn fits(grid: &Grid, width: usize) -> bool {
    let least = least(grid);
    least.iter().sum::<usize>() + GAP * least.len().saturating_sub(1) <= width
}

/// The width below which a column cannot be read.
fn least(grid: &Grid) -> Vec<usize> {
    let column = |(at, natural): (usize, usize)| {
        if grid.heads[at].right {
            return natural;
        }
        let cells = grid.rows.iter().filter_map(|row| row.get(at)).chain([&grid.heads[at].title]);
        let longest = cells.flat_map(|cell| pieces(cell)).map(|piece| piece.trim_end().chars().count()).max().unwrap_or(0);
        longest.clamp(READABLE, WORD).min(natural)
    };
    grid.widths().into_iter().enumerate().map(column).collect()
}

/// Widths between the least and the natural ones that fill `width`: the widest columns give way first.
fn shared(columns: &[usize], natural: &[usize], least: &[usize], width: usize) -> Vec<usize> {
    let at = |most: usize| -> Vec<usize> { columns.iter().map(|&column| natural[column].min(most).max(least[column])).collect() };
    let total = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
    let widest = columns.iter().map(|&column| natural[column]).max().unwrap_or(0);
    (1..=widest).rev().map(at).find(|widths| total(widths) <= width).unwrap_or_else(|| at(0))
}

fn wrapped(grid: &Grid, columns: &[usize], widths: &[usize]) -> Grid {
    let row = |cells: &Vec<String>| {
        let cell = |(&column, &width): (&usize, &usize)| cells.get(column).map_or_else(String::new, |cell| broken(cell, width));
        columns.iter().zip(widths).map(cell).collect()
    };
    let heads = columns.iter().map(|&column| grid.heads[column].clone()).collect();
    Grid { heads, rows: grid.rows.iter().map(row).collect() }
}

/// The parts of a text between which a line may end, each with what follows it.
fn pieces(text: &str) -> Vec<&str> {
    text.split_inclusive(|letter: char| letter == ' ' || BREAKS.contains(&letter)).collect()
}

/// `text` in lines of at most `width`.
fn broken(text: &str, width: usize) -> String {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for piece in pieces(text) {
        if !line.is_empty() && line.chars().count() + piece.trim_end().chars().count() > width {
            lines.push(std::mem::take(&mut line));
        }
        line.push_str(piece);
        while line.trim_end().chars().count() > width.max(1) {
            let cut = line.char_indices().nth(width.max(1)).map_or(line.len(), |(at, _)| at);
            let rest = line.split_off(cut);
            lines.push(std::mem::replace(&mut line, rest));
        }
    }
    lines.push(line);
    lines.iter().map(|line| line.trim_end_matches(' ')).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::text_grid::Head;
    use super::*;

    fn grid(names: &[&str], numbers: usize) -> Grid {
        let heads =
            [Head::new("strategy", false)].into_iter().chain((0..numbers).map(|at| Head::new(format!("metric {at}"), true)));
        let row =
            |name: &&str| [(*name).to_owned()].into_iter().chain((0..numbers).map(|at| format!("0.{at:03} ± 0.001"))).collect();
        Grid { heads: heads.collect(), rows: names.iter().map(row).collect() }
    }

    #[test]
    fn a_table_that_fits_stays_as_it_is() {
        let grid = grid(&["bce", "bce + neg_over_pos + class_aware"], 2);
        assert_eq!(fitted(&grid, 200), std::slice::from_ref(&grid));
    }

    #[test]
    fn text_is_wrapped_between_words_and_whole_columns_stand_below() {
        let grid = grid(&["bce", "class_balanced(beta=0.9999,by=label) + neg_over_pos + class_aware"], 8);
        for width in [60, 80, 100] {
            let tables = fitted(&grid, width);
            assert!(tables.len() > 1 && tables.iter().all(|table| table.width() <= width), "{width}: {tables:?}");
            let columns: Vec<&str> = tables.iter().flat_map(|table| &table.heads[1..]).map(|head| head.title.as_str()).collect();
            assert_eq!(columns, grid.heads[1..].iter().map(|head| head.title.as_str()).collect::<Vec<_>>());
            for table in &tables {
                assert!(table.widths()[0] >= READABLE, "{table:?}");
                let name = &table.rows[1][0];
                let words = ["class_balanced(beta=0.9999,", "by=label)", "neg_over_pos", "class_aware"];
                assert!(words.iter().all(|word| name.contains(word)), "{name}");
            }
        }
    }

    #[test]
    fn nothing_is_lost_of_a_word_without_end() {
        let (word, endless) = ("x".repeat(100), broken(&"x".repeat(100), 28));
        assert_eq!((endless.replace('\n', ""), endless.lines().count()), (word, 4));
        assert_eq!(broken("one two,three", 8), "one two,\nthree");
        assert_eq!(broken("", 5), "");
    }
}
