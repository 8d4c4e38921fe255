//! The CSV of labels: a header, one line per row of data, one 0/1 column per label. Knows no images.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

use super::DataError;
use super::prepared::Rows;
use archive::file::open_regular;
use imbalance::LabelMatrix;
use imbalance::shown::shown;
use imbalance::stratification;
use plan::Columns;
use plan::MOST_LABELS;

/// Most bytes of one cell; a longer one is not a name, path or id, and the file not a table of labels.
const MOST_CELL: usize = 1 << 20;
/// Most bytes of one row: room for the largest number of labels, with long names.
const MOST_ROW: u64 = 16 << 20;

/// The CSV, read and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Path column: image paths or row ids.
    pub ids: Vec<String>,
    /// Line of each row in the file, from 1.
    pub lines: Vec<u64>,
    pub labels: LabelMatrix,
    /// 0 train, 1 val, 2 test.
    pub splits: Option<Vec<u8>>,
    /// Group number of each row.
    pub groups: Option<Vec<u32>>,
    pub group_names: Vec<String>,
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
        Self { ids, labels, splits, groups, group_names, skipped: Vec::new() }
    }
}

/// What a column of the CSV is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Path,
    Split,
    Group,
    Ignored,
    Label,
}

/// How messages name the options that exclude columns from the labels: as they were typed.
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

/// Reads `file`; `columns` says what is not a label.
///
/// # Errors
/// The first fault, with its line and column.
pub fn read(file: &Path, columns: &Columns, called: Called) -> Result<Table, DataError> {
    let at = |line: Option<u64>, message: String| DataError {
        place: line.map_or_else(|| file.display().to_string(), |line| format!("{}:{line}", file.display())),
        message,
    };
    let opened = open_regular(file).map_err(|error| at(None, format!("cannot read the labels: {error}")))?;
    let left = Rc::new(Cell::new(MOST_ROW));
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(Rationed { inner: opened, left: Rc::clone(&left) });
    let header = reader.headers().map_err(|error| at(line_of(&error).or(Some(1)), plain(&error)))?.clone();
    let names: Vec<&str> =
        header.iter().enumerate().map(|(i, name)| if i == 0 { name.trim_start_matches('\u{feff}') } else { name }).collect();
    cells(&header).map_err(|message| at(Some(1), message))?;
    let roles = roles(&names, columns, called).map_err(|message| at(Some(1), message))?;
    let mut table = Table {
        ids: Vec::new(),
        lines: Vec::new(),
        labels: LabelMatrix {
            names: names.iter().zip(&roles).filter(|(_, r)| **r == Role::Label).map(|(n, _)| (*n).to_owned()).collect(),
            values: Vec::new(),
        },
        splits: roles.contains(&Role::Split).then(Vec::new),
        groups: roles.contains(&Role::Group).then(Vec::new),
        group_names: Vec::new(),
    };
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let mut record = csv::StringRecord::new();
    loop {
        left.set(MOST_ROW);
        let next = reader.position().line();
        if !reader.read_record(&mut record).map_err(|error| at(line_of(&error).or(Some(next)), plain(&error)))? {
            break;
        }
        let line = record.position().map_or(0, csv::Position::line);
        cells(&record).map_err(|message| at(Some(line), message))?;
        let wrong = |name: &str, value: &str, right: &str| {
            Err(at(
                Some(line),
                format!(
                    "column `{}`: {} must be {right}",
                    shown(name),
                    if value.is_empty() { "an empty cell".to_owned() } else { format!("`{}`", shown(value)) }
                ),
            ))
        };
        table.lines.push(line);
        for ((value, &role), name) in record.iter().zip(&roles).zip(&names) {
            match role {
                Role::Ignored => {}
                Role::Path if value.is_empty() => return wrong(name, value, "a path or the row's id"),
                Role::Path => table.ids.push(value.to_owned()),
                Role::Split => match (stratification::parse(value), &mut table.splits) {
                    (Some(split), Some(splits)) => splits.push(split),
                    _ => return wrong(name, value, "train, val (valid, validation) or test"),
                },
                Role::Group if value.is_empty() => return wrong(name, value, "the name of the row's group"),
                Role::Group => {
                    let next = numbers.len() as u32;
                    let number = *numbers.entry(value.to_owned()).or_insert(next);
                    if number == next {
                        table.group_names.push(value.to_owned());
                    }
                    table.groups.get_or_insert_default().push(number);
                }
                Role::Label => match value {
                    "0" | "0.0" => table.labels.values.push(0),
                    "1" | "1.0" => table.labels.values.push(1),
                    _ if value.eq_ignore_ascii_case("false") => table.labels.values.push(0),
                    _ if value.eq_ignore_ascii_case("true") => table.labels.values.push(1),
                    _ => {
                        let ignored = called.option("ignore_columns");
                        return wrong(name, value, &format!("0 or 1 (columns that are not labels belong in `{ignored}`)"));
                    }
                },
            }
        }
    }
    if table.lines.is_empty() {
        return Err(at(None, "there is no row below the header".to_owned()));
    }
    Ok(table)
}

/// A reader with a limit per row: a row without an end is refused before it fills the memory.
struct Rationed<R> {
    inner: R,
    /// Bytes of the row that may still come; a little more than a row, since the reader reads ahead.
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Rationed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.get() == 0 {
            let message = format!("one row has more than {} MiB: is this a CSV?", MOST_ROW >> 20);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let read = self.inner.read(buffer)?;
        self.left.set(self.left.get().saturating_sub(read as u64));
        Ok(read)
    }
}

/// Refuses cells that are too long or have a NUL byte.
fn cells(record: &csv::StringRecord) -> Result<(), String> {
    for (at, cell) in record.iter().enumerate() {
        if cell.len() > MOST_CELL {
            return Err(format!("column {}: a cell of {} bytes; at most {} MiB are read", at + 1, cell.len(), MOST_CELL >> 20));
        }
        if cell.contains('\0') {
            return Err(format!("column {}: `{}` has a NUL byte: is this a CSV?", at + 1, shown(cell)));
        }
    }
    Ok(())
}

/// What each column is.
fn roles(names: &[&str], columns: &Columns, called: Called) -> Result<Vec<Role>, String> {
    if names.is_empty() {
        return Err("the file is empty: a header line must name the columns".to_owned());
    }
    let mut first: HashMap<&str, usize> = HashMap::with_capacity(names.len());
    for (i, &name) in names.iter().enumerate() {
        if name.is_empty() {
            return Err(format!("column {} has no name", i + 1));
        }
        if let Some(first) = first.insert(name, i) {
            return Err(format!("columns {} and {} are both named `{}`", first + 1, i + 1, shown(name)));
        }
    }
    let find = |key: &str, wanted: &str| {
        names.iter().position(|name| *name == wanted).ok_or_else(|| {
            let near = names.iter().filter(|name| name.len() <= 200).min_by_key(|name| strsim::damerau_levenshtein(name, wanted));
            let near = near.filter(|name| strsim::normalized_damerau_levenshtein(name, wanted) >= 0.5);
            let hint = near
                .map_or_else(|| format!("the columns are {}", list(names)), |name| format!("did you mean `{}`?", shown(name)));
            format!("there is no column `{}`, which `{}` names; {hint}", shown(wanted), called.option(key))
        })
    };
    let mut roles = vec![Role::Label; names.len()];
    let mut give = |column: usize, role: Role| {
        if roles[column] != Role::Label {
            let who = if called == Called::Keys { "the keys of [data]" } else { "the flags" };
            return Err(format!("{who} name the column `{}` twice", shown(names[column])));
        }
        roles[column] = role;
        Ok(())
    };
    for name in &columns.ignore {
        give(find("ignore_columns", name)?, Role::Ignored)?;
    }
    if let Some(name) = &columns.group {
        give(find("group_column", name)?, Role::Group)?;
    }
    match &columns.split {
        Some(name) => give(find("split_column", name)?, Role::Split)?,
        None => {
            if let Some(column) =
                names.iter().position(|name| *name == "split").filter(|_| columns.path.as_deref() != Some("split"))
            {
                // A column named `split` that is also ignored stays ignored.
                if !columns.ignore.iter().any(|name| name == "split") && columns.group.as_deref() != Some("split") {
                    give(column, Role::Split)?;
                }
            }
        }
    }
    match &columns.path {
        Some(name) => give(find("path_column", name)?, Role::Path)?,
        None if roles.first() == Some(&Role::Label) => roles[0] = Role::Path,
        None => {
            return Err(format!(
                "the first column, `{}`, is no path or id: name that column in `{}`",
                shown(names.first().unwrap_or(&"")),
                called.option("path_column")
            ));
        }
    }
    if !roles.contains(&Role::Label) {
        return Err(format!("there is no label column: the columns are {}", list(names)));
    }
    let labels = roles.iter().filter(|role| **role == Role::Label).count();
    if labels > MOST_LABELS {
        return Err(format!(
            "{labels} label columns, and a data set may have {MOST_LABELS}: list columns that are not labels in `{}`",
            called.option("ignore_columns")
        ));
    }
    Ok(roles)
}

/// Names in backticks; the first ones only, if there are many.
fn list(names: &[&str]) -> String {
    let first: Vec<String> = names.iter().take(12).map(|name| format!("`{}`", shown(name))).collect();
    let more = names.len().saturating_sub(12);
    first.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

fn line_of(error: &csv::Error) -> Option<u64> {
    error.position().map(csv::Position::line)
}

/// The CSV reader's message without its own position.
fn plain(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Io(error) => error.to_string(),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} fields instead of the header's {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "not UTF-8 text".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: impl AsRef<[u8]>, columns: &Columns) -> Result<Table, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("labels.csv");
        std::fs::write(&file, text).unwrap();
        read(&file, columns, Called::Keys).map_err(|error| error.to_string().replace(&file.display().to_string(), "FILE"))
    }

    fn fails(text: &str, message: &str) {
        let error = parse(text, &Columns::default()).unwrap_err();
        assert!(error.contains(message), "{error}");
    }

    #[test]
    fn names_of_any_kind_work() {
        let text = "\u{feff}image,split,\"Pleural, Thickening\",N/A,\"the \"\"big\"\" one\",Brown Creeper,a-b/c,é\n\
                    x/1.png,train,1,0,1,0,1,0\n\"y, 2.png\",valid,0,1,0.0,1.0,TRUE,False\n";
        let table = parse(text, &Columns::default()).unwrap();
        assert_eq!(&*table.labels.names, ["Pleural, Thickening", "N/A", "the \"big\" one", "Brown Creeper", "a-b/c", "é"]);
        assert_eq!(table.ids, ["x/1.png", "y, 2.png"]);
        assert_eq!(table.labels.values, [1, 0, 1, 0, 1, 0, 0, 1, 0, 1, 1, 0]);
        assert_eq!(table.splits, Some(vec![0, 1]));
        assert_eq!(table.lines, [2, 3]);
    }

    #[test]
    fn columns_are_what_the_file_says() {
        let columns = Columns {
            path: Some("file".to_owned()),
            split: Some("fold".to_owned()),
            group: Some("patient".to_owned()),
            ignore: vec!["age".to_owned()],
        };
        let table =
            parse("A,file,patient,age,fold,split\n1,a.png,p2,70,test,0\n0,b.png,p1,,train,1\n1,c.png,p2,71,test,1\n", &columns)
                .unwrap();
        assert_eq!(&*table.labels.names, ["A", "split"]);
        assert_eq!((table.groups, table.group_names), (Some(vec![0, 1, 0]), vec!["p2".to_owned(), "p1".to_owned()]));
        assert_eq!(table.splits, Some(vec![2, 0, 2]));
        let ignored = Columns { ignore: vec!["split".to_owned()], ..Columns::default() };
        assert_eq!(parse("id,split,A\na,nonsense,1\n", &ignored).unwrap().splits, None);
        let missing = Columns { group: Some("patent".to_owned()), ..Columns::default() };
        let error = parse("id,patient,A\na,x,1\n", &missing).unwrap_err();
        assert!(error.starts_with("FILE:1: there is no column `patent`") && error.contains("did you mean `patient`?"), "{error}");
        let twice = Columns { group: Some("A".to_owned()), ignore: vec!["A".to_owned()], ..Columns::default() };
        assert!(parse("id,A,B\na,x,1\n", &twice).unwrap_err().contains("name the column `A` twice"));
    }

    #[test]
    fn wrong_tables_are_refused_with_their_line() {
        fails("image,A,A\nx,1,0\n", "FILE:1: columns 2 and 3 are both named `A`");
        fails("image,A,\nx,1,0\n", "FILE:1: column 3 has no name");
        fails("image,split\nx,train\n", "FILE:1: there is no label column");
        fails("image,A\nx,1\ny,2\n", "FILE:3: column `A`: `2` must be 0 or 1");
        fails("image,A\nx,0.5\n", "FILE:2: column `A`: `0.5` must be 0 or 1");
        fails("image,A\nx,nan\n", "`nan` must be 0 or 1");
        fails("image,A,B\nx,1,\n", "FILE:2: column `B`: an empty cell must be 0 or 1");
        fails("image,A,B\nx,1,0\ny,1\n", "FILE:3: 2 fields instead of the header's 3");
        fails("image,split,A\nx,dev,1\n", "FILE:2: column `split`: `dev` must be train, val");
        fails("image,A\n,1\n", "FILE:2: column `image`: an empty cell must be a path");
        fails("image,A\n", "FILE: there is no row below the header");
        fails("", "FILE:1: the file is empty");
        assert!(parse(b"image,A\n\xff\xfe,1\n", &Columns::default()).unwrap_err().contains("FILE:2: not UTF-8"));
        assert!(
            parse(b"image,A\nx\0,1\n", &Columns::default()).unwrap_err().contains("FILE:2: column 1: `x\\u{0}` has a NUL byte")
        );
        let error = read(Path::new("/nonexistent/labels.csv"), &Columns::default(), Called::Keys).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/labels.csv: cannot read the labels"), "{error}");
    }

    #[test]
    fn what_is_no_table_is_refused_before_it_fills_the_memory() {
        let many: String = (0..=MOST_LABELS).map(|label| format!(",{label}")).collect();
        fails(&format!("id{many}\n"), "FILE:1: 10001 label columns, and a data set may have 10000");
        let cell = |bytes: usize| format!("id,A\nx,0\n{},1\n", "c".repeat(bytes));
        fails(&cell(MOST_CELL + 1), "FILE:3: column 1: a cell of 1048577 bytes; at most 1 MiB");
        fails(&cell(MOST_ROW as usize + (1 << 16)), "FILE:3: one row has more than 16 MiB");
        fails(&"\0".repeat(MOST_ROW as usize + (1 << 16)), "FILE:1: one row has more than 16 MiB");
        let error = read(Path::new("/dev/zero"), &Columns::default(), Called::Keys).unwrap_err().to_string();
        assert!(error.contains("/dev/zero: cannot read the labels: is not a regular file"), "{error}");
    }

    #[test]
    fn foreign_text_is_escaped_and_cut() {
        let error = parse(format!("id,\u{1b}[31mA\nx,\u{202e}{}\n", "y".repeat(1000)), &Columns::default()).unwrap_err();
        assert!(error.contains("column `\\u{1b}[31mA`: `\\u{202e}yyy") && error.len() < 250, "{error}");
    }
}
