//! What the columns of a CSV were taken for, in one line.

use std::fmt;

use super::roles::{Role, Roles};
use super::{Survey, Table, list};
use imbalance::loss::IGNORED;
use imbalance::shown::shown;
use imbalance::stratification::{NAMES, VAL};
use serde::Serialize;

/// What each column was taken for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Layout {
    pub rows: usize,
    /// Between two cells.
    pub separator: String,
    /// Where it is not UTF-8.
    pub encoding: Option<&'static str>,
    /// The column that names the rows; `None`: they are numbered.
    pub path: Option<String>,
    pub split: Option<String>,
    /// Where the split column has 0 and 1: what a 1 is (0 is train).
    pub one_is: Option<&'static str>,
    pub group: Option<String>,
    pub groups: usize,
    /// Names of the labels, in order.
    pub labels: Vec<String>,
    /// Columns whose lists gave labels.
    pub lists: Vec<String>,
    /// Columns that are not used.
    pub ignored: Vec<String>,
    /// Cells of labels that the file leaves open.
    pub unknown: usize,
    /// Rows that are blank throughout, and left out.
    pub blank_rows: usize,
}

impl Layout {
    pub(super) fn of(table: &Table, survey: &Survey, roles: &Roles) -> Self {
        let name = |column: usize| survey.names[column].clone();
        let with = |role: Role| -> Vec<String> {
            let of_role = |column: &usize| roles.roles[*column] == role && !survey.names[*column].is_empty();
            (0..survey.names.len()).filter(of_role).map(name).collect()
        };
        let index = with(Role::Index);
        Self {
            rows: table.lines.len(),
            separator: if survey.separator == b'\t' { "tab".to_owned() } else { char::from(survey.separator).to_string() },
            encoding: survey.encoding,
            path: roles.path.map(name),
            split: roles.split.map(name),
            one_is: roles.flagged().map(|split| NAMES[usize::from(split)]),
            group: roles.group.map(name),
            groups: table.group_names.len(),
            labels: table.labels.names.to_vec(),
            lists: with(Role::List),
            ignored: with(Role::Ignored).into_iter().chain(index).collect(),
            unknown: table.labels.values.iter().filter(|value| **value == IGNORED).count(),
            blank_rows: survey.blank_rows,
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column =
            |name: &str| if name.is_empty() { "the column without a name".to_owned() } else { format!("`{}`", shown(name)) };
        write!(f, "{} rows", self.rows)?;
        if self.separator != "," {
            write!(
                f,
                " separated by {}",
                if self.separator == "tab" { "tabs".to_owned() } else { format!("`{}`", self.separator) }
            )?;
        }
        if let Some(encoding) = self.encoding {
            write!(f, " in {encoding}")?;
        }
        match &self.path {
            Some(path) => write!(f, "; row: {}", column(path))?,
            None => write!(f, "; rows numbered")?,
        }
        match (&self.split, self.one_is) {
            (Some(split), None) => write!(f, "; split: {}", column(split))?,
            (Some(split), Some(one)) => write!(
                f,
                "; split: {} (1 is {one}{})",
                column(split),
                if one == NAMES[usize::from(VAL)] { ", 0 train" } else { ", 0 train and val" }
            )?,
            (None, _) => {}
        }
        match &self.group {
            Some(group) => write!(f, "; groups: {} ({})", column(group), self.groups)?,
            None if self.groups > 0 => write!(f, "; {} groups of rows that show the same", self.groups)?,
            None => {}
        }
        write!(f, "; {} {}", self.labels.len(), if self.labels.len() == 1 { "label" } else { "labels" })?;
        if !self.lists.is_empty() {
            write!(f, " (lists in {})", list(self.lists.iter().map(String::as_str)))?;
        }
        write!(f, ": {}", list(self.labels.iter().map(String::as_str)))?;
        if self.unknown > 0 {
            write!(f, "; {} unknown cell{}", self.unknown, if self.unknown == 1 { "" } else { "s" })?;
        }
        if !self.ignored.is_empty() {
            write!(f, "; not used: {}", list(self.ignored.iter().map(String::as_str)))?;
        }
        if self.blank_rows > 0 {
            write!(f, "; {} blank row{} left out", self.blank_rows, if self.blank_rows == 1 { "" } else { "s" })?;
        }
        Ok(())
    }
}
