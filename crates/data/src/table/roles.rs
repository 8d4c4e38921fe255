//! What each column is taken for: by the keys, else by its place, its name and what it holds.

use std::collections::HashMap;

use super::cell::{Cell, Spelling};
use super::profile::flagged_split;
use super::{Called, Ids, Look, Survey, list};
use imbalance::shown::shown;
use imbalance::stratification;
use plan::{Columns, MOST_LABELS, NO_COLUMN};

/// What a column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Path,
    Split,
    Group,
    Ignored,
    /// Without a name, and blank or counting the rows: left out unasked.
    Index,
    /// Lists of label names.
    List,
    Label,
}

/// What the columns are.
pub struct Roles {
    pub roles: Vec<Role>,
    /// The column that names the rows; it may be that of groups too.
    pub path: Option<usize>,
    pub split: Option<usize>,
    pub group: Option<usize>,
    /// The split of a 1, where the column has 0 and 1 (0 is train).
    flag: Option<u8>,
    /// Whether the labels were named one by one.
    pub listed: bool,
}

impl Roles {
    /// The roles of the columns of `survey`.
    pub fn of(survey: &Survey, columns: &Columns, called: Called, ids: Ids) -> Result<Self, String> {
        let names: Vec<&str> = survey.names.iter().map(String::as_str).collect();
        if columns.labels.is_empty() {
            header_is_no_row(survey, columns, called)?;
        }
        let mut first: HashMap<&str, usize> = HashMap::with_capacity(names.len());
        for (i, &name) in names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            if let Some(first) = first.insert(name, i) {
                return Err(format!("columns {} and {} are both named `{}`", first + 1, i + 1, shown(name)));
            }
        }
        let mut finder = Finder { names: &names, called, roles: vec![Role::Label; names.len()] };
        for name in &columns.ignore {
            finder.give("ignore_columns", name, Role::Ignored)?;
        }
        for name in columns.lists.keys() {
            finder.give("label_lists", name, Role::List)?;
        }
        let group = columns.group.as_deref().map(|name| finder.give("group_column", name, Role::Group)).transpose()?;
        let split = finder.split(survey, columns)?;
        let flag = split.and_then(|column| flag(names[column], survey, column));
        for (column, name) in names.iter().enumerate() {
            let profile = &survey.profiles[column];
            let index = profile.written == 0 || profile.counts_up();
            if is_unnamed(name) && finder.roles[column] == Role::Label && index {
                finder.roles[column] = Role::Index;
            }
        }
        let path = finder.path(survey, columns, ids, group)?;
        let mut roles = finder.roles;
        if let Some(column) = (0..names.len()).find(|&column| names[column].is_empty() && roles[column] == Role::Label) {
            let held = survey.profiles[column]
                .first_other
                .as_ref()
                .map_or_else(|| "0 and 1".to_owned(), |(line, text)| format!("`{}` in line {line}", shown(text)));
            return Err(format!("column {} has no name, and holds {held}: name it in the header", column + 1));
        }
        if !columns.labels.is_empty() {
            let mut wanted = vec![false; names.len()];
            for name in &columns.labels {
                let column = find(&names, called, "label_columns", name)?;
                if roles[column] != Role::Label {
                    return Err(twice(called, name));
                }
                wanted[column] = true;
            }
            for (role, wanted) in roles.iter_mut().zip(wanted) {
                if *role == Role::Label && !wanted {
                    *role = Role::Ignored;
                }
            }
        }
        let labels = roles.iter().filter(|role| **role == Role::Label).count();
        if labels == 0 && !roles.contains(&Role::List) {
            let separated = if names.len() == 1 && names[0].contains(' ') {
                format!("; are the cells separated by blanks? Then `{}` = \" \"", called.option("separator"))
            } else {
                String::new()
            };
            return Err(format!("there is no label column: the columns are {}{separated}", list(names.iter().copied())));
        }
        if labels > MOST_LABELS {
            return Err(format!(
                "{labels} label columns, and a data set may have {MOST_LABELS}: list columns that are not labels in `{}`",
                called.option("ignore_columns")
            ));
        }
        Ok(Self { roles, path, split, group, flag, listed: !columns.labels.is_empty() })
    }

    /// The split that a cell of the split column names.
    pub fn split_of(&self, cell: &str, spelling: &Spelling<'_>) -> Option<u8> {
        let flag = self.flag.and_then(|one| match spelling.read(cell) {
            Cell::Zero => Some(stratification::TRAIN),
            Cell::One => Some(one),
            _ => None,
        });
        stratification::parse(cell).or(flag)
    }

    /// What a cell of the split column must be.
    pub fn right_split(&self, name: &str, called: Called) -> String {
        let otherwise = called.option("split_column");
        let label =
            if called == Called::Keys { format!("{otherwise} = \"{NO_COLUMN}\"") } else { format!("{otherwise} {NO_COLUMN}") };
        format!("train, val (valid, validation) or test; if `{}` is a label, `{label}`", shown(name))
    }

    /// The split that a 1 stands for, where the split column has 0 and 1.
    pub fn flagged(&self) -> Option<u8> {
        self.flag
    }
}

/// Gives columns their roles.
struct Finder<'s> {
    names: &'s [&'s str],
    called: Called,
    roles: Vec<Role>,
}

impl Finder<'_> {
    fn give(&mut self, key: &str, name: &str, role: Role) -> Result<usize, String> {
        let column = find(self.names, self.called, key, name)?;
        if self.roles[column] != Role::Label {
            return Err(twice(self.called, name));
        }
        self.roles[column] = role;
        Ok(column)
    }

    /// The split column: the one that is named, or one called `split`.
    fn split(&mut self, survey: &Survey, columns: &Columns) -> Result<Option<usize>, String> {
        match columns.split.as_deref() {
            Some(NO_COLUMN) if !self.names.contains(&NO_COLUMN) => Ok(None),
            Some(name) => self.give("split_column", name, Role::Split).map(Some),
            None => {
                let is = |&column: &usize| {
                    let named = self.names[column] == "split";
                    let alike = self.names[column].eq_ignore_ascii_case("split") && survey.profiles[column].names_splits();
                    let taken = columns.path.as_deref() == Some(self.names[column])
                        || columns.labels.iter().any(|label| label == self.names[column]);
                    (named || alike) && !taken && self.roles[column] == Role::Label
                };
                let found = (0..self.names.len()).find(is);
                if let Some(column) = found {
                    self.roles[column] = Role::Split;
                }
                Ok(found)
            }
        }
    }

    /// The path column: the one that is named, the one that names pictures, or the first one.
    fn path(&mut self, survey: &Survey, columns: &Columns, ids: Ids, group: Option<usize>) -> Result<Option<usize>, String> {
        let option = self.called.option("path_column");
        match columns.path.as_deref() {
            Some(NO_COLUMN) if !self.names.contains(&NO_COLUMN) => {
                return if ids == Ids::Rows {
                    Ok(None)
                } else {
                    Err(format!("images need a column of paths: `{option}` names it"))
                };
            }
            Some(name) if group.is_some_and(|group| self.names[group] == name) => return Ok(group),
            Some(name) => return self.give("path_column", name, Role::Path).map(Some),
            None => {}
        }
        let open = |column: &usize| {
            let label = columns.labels.iter().any(|label| label == self.names[*column]);
            self.roles[*column] == Role::Label && !label
        };
        let holds_more = |column: &usize| survey.profiles[*column].others > 0 || survey.profiles[*column].counts_up();
        let pictures: Vec<usize> = (0..self.names.len()).filter(open).filter(|&c| survey.profiles[c].names_pictures()).collect();
        let left_out = (0..self.names.len()).find(|&c| self.roles[c] == Role::Ignored && survey.profiles[c].names_pictures());
        if let (Ids::Pictures, true, Some(column)) = (ids, pictures.is_empty(), left_out) {
            let (name, ignored) = (shown(self.names[column]), self.called.option("ignore_columns"));
            return Err(format!("`{name}` names the pictures, and `{ignored}` leaves it out: take it out of there"));
        }
        let found = match (ids, pictures.as_slice()) {
            (Ids::Pictures, &[only]) => Some(only),
            _ => {
                // What stands before may be an index or what a key names.
                let next = (0..self.names.len()).find(open);
                next.filter(|&column| column == 0 || holds_more(&column) || survey.rows < 3)
            }
        };
        // The index itself, where nothing else names the rows.
        let found =
            found.or_else(|| (0..self.names.len()).find(|&c| self.roles[c] == Role::Index && survey.profiles[c].filled() > 0));
        let Some(column) = found else {
            let first = shown(self.names.first().unwrap_or(&""));
            return Err(format!(
                "the first column, `{first}`, is no path or id: name that column in `{option}`, or say `{NO_COLUMN}` there"
            ));
        };
        let profile = &survey.profiles[column];
        if profile.others == 0 && !profile.counts_up() && survey.rows > 2 && self.roles[column] == Role::Label {
            return Err(format!(
                "the first column, `{}`, holds only 0 and 1 and would be the rows' id: name the column of ids in `{option}`, or say \
                 `{NO_COLUMN}` there if there is none and `{}` is a label",
                shown(self.names[column]),
                shown(self.names[column])
            ));
        }
        self.roles[column] = Role::Path;
        Ok(Some(column))
    }
}

fn find(names: &[&str], called: Called, key: &str, wanted: &str) -> Result<usize, String> {
    names.iter().position(|name| *name == wanted).ok_or_else(|| {
        let near = names.iter().filter(|name| name.len() <= 200).min_by_key(|name| strsim::damerau_levenshtein(name, wanted));
        let near = near.filter(|name| strsim::normalized_damerau_levenshtein(name, wanted) >= 0.5);
        let hint = near.map_or_else(
            || format!("the columns are {}", list(names.iter().copied())),
            |name| format!("did you mean `{}`?", shown(name)),
        );
        format!("there is no column `{}`, which `{}` names; {hint}", shown(wanted), called.option(key))
    })
}

fn twice(called: Called, name: &str) -> String {
    let who = if called == Called::Keys { "the keys of [data]" } else { "the flags" };
    format!("{who} name the column `{}` twice", shown(name))
}

/// Whether pandas or a spreadsheet named the column, or nobody did.
fn is_unnamed(name: &str) -> bool {
    name.is_empty() || name.strip_prefix("Unnamed:").is_some_and(|rest| rest.trim().parse::<usize>().is_ok())
}

/// The split of a 1 in a column of 0 and 1 that is named after it: `is_valid`.
fn flag(name: &str, survey: &Survey, column: usize) -> Option<u8> {
    let profile = &survey.profiles[column];
    flagged_split(name).filter(|_| profile.others == 0 && profile.unknown() == 0)
}

/// Refuses a header that is a row of data: the file has none.
fn header_is_no_row(survey: &Survey, columns: &Columns, called: Called) -> Result<(), String> {
    let spelling = super::spelling(columns, survey.separator);
    let value = |name: &str| matches!(spelling.read(name), Cell::Zero | Cell::One | Cell::MinusOne);
    let mut values = 0;
    let mut like_its_column = false;
    let mut repeated = false;
    for (at, (name, profile)) in survey.names.iter().zip(&survey.profiles).enumerate() {
        values += usize::from(value(name));
        repeated |= value(name) && survey.names[..at].contains(name);
        let picture = super::is_picture(name) && profile.names_pictures();
        let split = stratification::parse(name).is_some() && profile.look("") == Look::Split;
        // A word may be the name of a column of words; with digits in it, it is one of theirs.
        let coded = name.bytes().any(|byte| byte.is_ascii_digit()) && !value(name);
        like_its_column |= picture || split || (coded && profile.is_like_header());
    }
    let labels = survey.profiles.iter().filter(|profile| profile.others == 0 && profile.filled() > 0).count();
    let all_values = values > 0 && values >= labels;
    if (like_its_column && (values > 0 || labels == 0)) || (all_values && repeated) {
        return Err(format!(
            "this line is read as the header, but `{}` looks like a row: put a line with the names of the columns above it. If these are \
             names, list those of the labels in `{}`",
            shown(&survey.header.chars().take(120).collect::<String>()),
            called.option("label_columns")
        ));
    }
    Ok(())
}
