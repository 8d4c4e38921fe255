//! The CSV of labels: a header, one line per row of data, 0/1 columns or lists of names. Knows no images.
//!
//! It is read twice: once to see what each column holds ([`survey`]), so that what it is taken for can be said and what cannot be right
//! is refused with the key that settles it; then into a [`Table`].

mod advice;
mod cell;
mod layout;
mod profile;
mod roles;
#[cfg(test)]
mod tests;
pub mod text;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::DataError;
use super::prepared::Rows;
use cell::{Cell, Spelling};
use imbalance::LabelMatrix;
use imbalance::loss::IGNORED;
use imbalance::shown::shown;
pub use layout::Layout;
use plan::{Columns, MOST_LABELS, UnknownAs};
pub use profile::{Look, Profile, entries, flagged_split, is_picture};
use roles::{Role, Roles};
use text::{Fault, Text};

/// The CSV, read and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Path column: image paths or row ids.
    pub ids: Vec<String>,
    /// Line of each row in the file, from 1.
    pub lines: Vec<u64>,
    /// 0, 1, or [`IGNORED`] where the file leaves it open.
    pub labels: LabelMatrix,
    /// 0 train, 1 val, 2 test.
    pub splits: Option<Vec<u8>>,
    /// Group number of each row.
    pub groups: Option<Vec<u32>>,
    pub group_names: Vec<String>,
    /// What the columns were taken for.
    pub layout: Layout,
}

impl Table {
    /// Hashes everything of the table but its line numbers into the key of a prepared folder.
    pub fn add_to(&self, key: &mut blake3::Hasher) {
        let mut add = |bytes: &[u8]| {
            key.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        };
        add(format!("{} {} {}", self.labels.names.len(), self.group_names.len(), self.ids.len()).as_bytes());
        for name in self.labels.names.iter().chain(&self.group_names).chain(&self.ids) {
            add(name.as_bytes());
        }
        add(&self.labels.values);
        add(self.splits.as_deref().unwrap_or_default());
        add(&self.groups.iter().flatten().flat_map(|group| group.to_le_bytes()).collect::<Vec<u8>>());
    }
}

impl From<Table> for Rows {
    fn from(table: Table) -> Self {
        let Table { ids, labels, splits, groups, group_names, .. } = table;
        Self { ids, labels, splits, groups, group_names, skipped: Vec::new(), doubts: Vec::new(), white: None }
    }
}

/// How messages name the options that say what columns are: as they were typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// Keys of a sweep file: `data.path_column`.
    Keys,
    /// Flags of `sweep import`: `--path-column`.
    Flags,
}

impl Called {
    fn option(self, name: &str) -> String {
        match self {
            Self::Keys => format!("data.{name}"),
            Self::Flags => format!("--{}", name.replace('_', "-")),
        }
    }
}

/// What the path column names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// Picture files.
    Pictures,
    /// The rows themselves.
    Rows,
}

/// What the columns of a CSV hold.
pub struct Survey {
    /// Names of the columns.
    pub names: Vec<String>,
    pub profiles: Vec<Profile>,
    /// Rows that are not blank throughout.
    pub rows: usize,
    /// Rows that are.
    pub blank_rows: usize,
    pub separator: u8,
    pub encoding: Option<&'static str>,
    /// The header's line.
    line: u64,
    /// The header as it stands.
    header: String,
}

impl Survey {
    /// What each column looks like.
    pub fn looks(&self) -> impl Iterator<Item = (&str, &Profile, Look)> {
        self.names.iter().zip(&self.profiles).map(|(name, profile)| (name.as_str(), profile, profile.look(name)))
    }
}

/// Reads `file` and says what its columns hold.
///
/// # Errors
/// A file that is no CSV, rows of different lengths; with the line.
pub fn survey(file: &Path, columns: &Columns) -> Result<Survey, DataError> {
    let read = || inspect(&Text::read(file, columns.separator.map(|letter| letter as u8))?, columns);
    read().map_err(|fault| at(file, fault))
}

fn at(file: &Path, (line, message): Fault) -> DataError {
    let place = line.map_or_else(|| file.display().to_string(), |line| format!("{}:{line}", file.display()));
    DataError { place, message }
}

/// How cells of labels are spelled.
fn spelling<'c>(columns: &'c Columns, separator: u8) -> Spelling<'c> {
    Spelling { negative: &columns.negative, positive: &columns.positive, decimal_comma: separator != b',' }
}

/// One pass over the text.
fn inspect(text: &Text, columns: &Columns) -> Result<Survey, Fault> {
    let mut records = text.records();
    let (line, names) = match records.next_filled()? {
        None => return Err((Some(1), "the file is empty: a header line must name the columns".to_owned())),
        Some((line, record)) => (line, record.iter().map(str::to_owned).collect::<Vec<_>>()),
    };
    let above = records.blank;
    let spelling = spelling(columns, text.separator);
    let shapes: Vec<String> = names.iter().map(|name| profile::shape(name)).collect();
    let named = names.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
    let mut survey = Survey {
        profiles: vec![Profile::default(); names.len()],
        rows: 0,
        blank_rows: 0,
        separator: text.separator,
        encoding: text.encoding,
        line,
        header: text.first_line().to_owned(),
        names,
    };
    while let Some((line, record)) = records.next_filled()? {
        let width = survey.names.len();
        if record.len() < named || record.iter().skip(width).any(|cell| !cell.is_empty()) {
            let quoted = if record.len() > width { "; a cell with the separator in it must stand in double quotes" } else { "" };
            return Err((Some(line), format!("{} fields instead of the header's {width}{quoted}", record.len())));
        }
        for (at, profile) in survey.profiles.iter_mut().enumerate() {
            profile.add(survey.rows, line, record.get(at).unwrap_or_default(), &spelling, &shapes[at]);
        }
        survey.rows += 1;
    }
    survey.blank_rows = records.blank - above;
    Ok(survey)
}

/// Reads `file` as `columns` says.
///
/// # Errors
/// Every column that cannot be what it is taken for, with the keys that settle it; else the first fault, with its line and column.
pub fn read(file: &Path, columns: &Columns, called: Called, ids: Ids) -> Result<Table, DataError> {
    let read = || {
        let text = Text::read(file, columns.separator.map(|letter| letter as u8))?;
        let survey = inspect(&text, columns)?;
        let roles = Roles::of(&survey, columns, called, ids).map_err(|message| (Some(survey.line), message))?;
        advice::check(&survey, &roles, columns, called)?;
        fill(&text, &survey, &roles, columns, called)
    };
    read().map_err(|fault| at(file, fault))
}

/// The second pass, into a table.
fn fill(text: &Text, survey: &Survey, roles: &Roles, columns: &Columns, called: Called) -> Result<Table, Fault> {
    let lists = Lists::read(text, survey, roles, columns)?;
    let names = lists.label_names(survey, roles);
    unique(&names, survey.line)?;
    unknown_names(columns, &names, survey.line)?;
    let spelling = spelling(columns, text.separator);
    let mut table = Table {
        ids: Vec::with_capacity(survey.rows),
        lines: Vec::with_capacity(survey.rows),
        labels: LabelMatrix { names: names.into(), values: Vec::new() },
        splits: roles.split.map(|_| Vec::with_capacity(survey.rows)),
        groups: roles.group.map(|_| Vec::with_capacity(survey.rows)),
        group_names: Vec::new(),
        layout: Layout::default(),
    };
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let mut rows = text.rows()?;
    while let Some((line, record)) = rows.next_filled()? {
        let cell = |column: usize| record.get(column).unwrap_or_default();
        let wrong = |column: usize, right: &str| {
            let (name, value) = (&survey.names[column], cell(column));
            let value = if value.is_empty() { "an empty cell".to_owned() } else { format!("`{}`", shown(value)) };
            (Some(line), format!("column `{}`: {value} must be {right}", shown(name)))
        };
        table.ids.push(match roles.path {
            Some(column) if cell(column).is_empty() => return Err(wrong(column, "a path or the row's id")),
            Some(column) => cell(column).to_owned(),
            None => table.lines.len().to_string(),
        });
        table.lines.push(line);
        if let (Some(column), Some(splits)) = (roles.split, &mut table.splits) {
            let found = roles.split_of(cell(column), &spelling);
            splits.push(found.ok_or_else(|| wrong(column, &roles.right_split(&survey.names[column], called)))?);
        }
        if let (Some(column), Some(groups)) = (roles.group, &mut table.groups) {
            let value = cell(column);
            if value.is_empty() {
                return Err(wrong(column, "the name of the row's group"));
            }
            let next = numbers.len() as u32;
            let number = *numbers.entry(value.to_owned()).or_insert(next);
            if number == next {
                table.group_names.push(value.to_owned());
            }
            groups.push(number);
        }
        for (column, role) in roles.roles.iter().enumerate() {
            match role {
                Role::Label => table.labels.values.push(match spelling.read(cell(column)) {
                    Cell::Zero => 0,
                    Cell::One => 1,
                    Cell::Blank | Cell::MinusOne => IGNORED,
                    Cell::Other => return Err(wrong(column, "0 or 1")),
                }),
                Role::List => lists.push(column, cell(column), line, &mut table.labels.values)?,
                _ => {}
            }
        }
    }
    if table.lines.is_empty() {
        return Err((None, "there is no row below the header".to_owned()));
    }
    table.layout = Layout::of(&table, survey, roles);
    Ok(table)
}

/// The label names of the columns of lists.
struct Lists<'c> {
    /// Column → its separator and its names, in order.
    of: HashMap<usize, (&'c str, Vec<String>)>,
    /// Name → place among the labels of its column.
    places: HashMap<usize, HashMap<String, usize>>,
    columns: &'c Columns,
}

impl<'c> Lists<'c> {
    fn read(text: &Text, survey: &Survey, roles: &Roles, columns: &'c Columns) -> Result<Self, Fault> {
        let mut lists = Self { of: HashMap::new(), places: HashMap::new(), columns };
        let wanted: Vec<usize> = (0..roles.roles.len()).filter(|&column| roles.roles[column] == Role::List).collect();
        if wanted.is_empty() {
            return Ok(lists);
        }
        let mut found: Vec<BTreeSet<String>> = vec![BTreeSet::new(); wanted.len()];
        let mut rows = text.rows()?;
        while let Some((_, record)) = rows.next_filled()? {
            for (&column, found) in wanted.iter().zip(&mut found) {
                let separator = columns.lists[&survey.names[column]].as_str();
                for entry in entries(record.get(column).unwrap_or_default(), separator).filter(|entry| !lists.is_none(entry)) {
                    if !found.contains(entry) {
                        found.insert(entry.to_owned());
                    }
                }
                if found.len() > MOST_LABELS {
                    let message =
                        format!("column `{}`: more than {MOST_LABELS} names in its lists", shown(&survey.names[column]));
                    return Err((Some(survey.line), message));
                }
            }
        }
        for (column, found) in wanted.into_iter().zip(found) {
            let name = &survey.names[column];
            if found.is_empty() {
                return Err((Some(survey.line), format!("column `{}`: its lists have no name of a label", shown(name))));
            }
            let mut names: Vec<String> = found.into_iter().collect();
            // Ids in the order of their numbers, everything else in that of its letters.
            if names.iter().all(|name| name.parse::<i64>().is_ok()) {
                names.sort_by_key(|name| name.parse::<i64>().unwrap_or_default());
            }
            lists.places.insert(column, names.iter().cloned().enumerate().map(|(place, name)| (name, place)).collect());
            lists.of.insert(column, (columns.lists[name].as_str(), names));
        }
        Ok(lists)
    }

    /// Whether an entry says that the row has no label.
    fn is_none(&self, entry: &str) -> bool {
        self.columns.no_label.iter().any(|none| none.trim().eq_ignore_ascii_case(entry))
    }

    /// Names of all labels: those of columns and of lists, in the order of the columns.
    fn label_names(&self, survey: &Survey, roles: &Roles) -> Vec<String> {
        let of = |(column, role): (usize, &Role)| match role {
            Role::Label => vec![survey.names[column].clone()],
            Role::List => self.of[&column].1.clone(),
            _ => Vec::new(),
        };
        roles.roles.iter().enumerate().flat_map(of).collect()
    }

    /// Appends the labels of a row, as the cell of `column` lists them.
    fn push(&self, column: usize, cell: &str, line: u64, values: &mut Vec<u8>) -> Result<(), Fault> {
        let (separator, names) = &self.of[&column];
        let start = values.len();
        // `[]` is a list without an entry; a blank may be anything.
        let bare = cell.trim_matches(['[', ']', '(', ')', '{', '}', ' ']).is_empty() && !cell.is_empty();
        let mut none = bare || (entries(cell, separator).next().is_none() && self.is_none(""));
        values.resize(start + names.len(), 0);
        for entry in entries(cell, separator) {
            match self.places[&column].get(entry) {
                Some(place) => values[start + place] = 1,
                None => none = true,
            }
        }
        let some = values[start..].contains(&1);
        if some && none {
            let message = format!("`{}` lists a label and says that there is none (`data.no_label`)", shown(cell));
            return Err((Some(line), message));
        }
        if !some && !none {
            let decided = |name: &String| self.columns.unknown.of(name) != UnknownAs::Error;
            if !names.iter().all(decided) {
                let cell = if cell.is_empty() { "an empty cell".to_owned() } else { format!("`{}`", shown(cell)) };
                let message = format!(
                    "{cell} lists no label: `data.no_label = [\"\"]` if such a row has none, or `data.unknown = \"ignore\"` if nobody knows"
                );
                return Err((Some(line), message));
            }
            values[start..].fill(IGNORED);
        }
        Ok(())
    }
}

/// Refuses labels of one name, which lists may bring.
fn unique(names: &[String], line: u64) -> Result<(), Fault> {
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(name) => {
            Err((Some(line), format!("two labels are named `{}`: one of a column, one of a list, or of two lists", shown(name))))
        }
        None if names.len() > MOST_LABELS => {
            Err((Some(line), format!("{} labels, and a data set may have {MOST_LABELS}", names.len())))
        }
        None => Ok(()),
    }
}

/// Refuses names of `data.unknown` that are no labels.
fn unknown_names(columns: &Columns, names: &[String], line: u64) -> Result<(), Fault> {
    match columns.unknown.labels.keys().find(|name| !names.contains(name)) {
        None => Ok(()),
        Some(name) => {
            let hint = imbalance::nearest(name, names.iter().map(String::as_str));
            let hint = hint.map_or_else(String::new, |near| format!("; did you mean `{}`?", shown(near)));
            Err((Some(line), format!("`data.unknown` names `{}`, which is no label{hint}", shown(name))))
        }
    }
}

/// Names in backticks; the first ones only, if there are many.
fn list<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let first: Vec<String> = names.iter().take(12).map(|name| format!("`{}`", shown(name))).collect();
    let more = names.len().saturating_sub(12);
    first.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}
