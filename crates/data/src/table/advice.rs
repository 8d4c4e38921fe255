//! Columns that cannot be labels as they stand: what each one holds, and the keys with which the file can be read.

use super::profile::{Look, Profile, flagged_split};
use super::roles::{Role, Roles};
use super::text::Fault;
use super::{Called, Survey, list};
use crate::untrainable::quoted;
use imbalance::shown::shown;
use plan::{Columns, UnknownAs};

/// Columns that a message names one by one.
const SHOWN: usize = 12;
/// A column in which at least so many cells of 0 and 1 come on one of another kind has slips, not another meaning.
const SLIPS: usize = 20;

/// A column that cannot be a label as it stands.
struct Offence<'s> {
    name: &'s str,
    /// The first cell that shows it.
    line: u64,
    text: &'s str,
    look: Look,
    profile: &'s Profile,
}

impl Offence<'_> {
    /// Whether its cells are 0 and 1, and only its name says that it is no label.
    fn is_by_name(&self) -> bool {
        self.profile.others == 0 && matches!(self.look, Look::SplitFlag | Look::Group { .. })
    }
}

/// Refuses labels' columns that hold something else, or cells about which nothing was decided.
///
/// # Errors
/// All of them in one message, at the line of the first, with the keys that settle it.
pub fn check(survey: &Survey, roles: &Roles, columns: &Columns, called: Called) -> Result<(), Fault> {
    let mut offences: Vec<Offence<'_>> = Vec::new();
    for (column, (name, profile)) in survey.names.iter().zip(&survey.profiles).enumerate() {
        if roles.roles[column] != Role::Label {
            continue;
        }
        let open = profile.unknown() > 0 && columns.unknown.of(name) == UnknownAs::Error;
        let look = profile.look(name);
        // Whoever says which column is the split knows what one called so is.
        let known = columns.split.is_some() && name.eq_ignore_ascii_case("split");
        let owner = profile.others == 0 && matches!(look, Look::Group { .. });
        let flag = (look == Look::SplitFlag || owner) && !roles.listed && !known;
        let first = if profile.others > 0 {
            profile.first_other.as_ref()
        } else if open {
            profile.first_unknown.as_ref()
        } else {
            None
        };
        match first {
            Some((line, text)) => offences.push(Offence { name, line: *line, text, look, profile }),
            None if flag => offences.push(Offence { name, line: survey.line, text: "", look, profile }),
            None => {}
        }
    }
    let Some(first) = offences.iter().min_by_key(|offence| (offence.is_by_name(), offence.line)) else {
        return Ok(());
    };
    let mut message = match (&first.look, first.text) {
        (Look::SplitFlag, _) => format!("column `{}` is named like a split, not like a label", shown(first.name)),
        (Look::Group { .. }, _) if first.is_by_name() => {
            format!("column `{}` is named like what a row belongs to, not like a label", shown(first.name))
        }
        (_, "") => format!("column `{}`: an empty cell must be 0 or 1", shown(first.name)),
        (_, text) => format!("column `{}`: `{}` must be 0 or 1", shown(first.name), shown(text)),
    };
    if let [only] = offences.as_slice() {
        message += &format!("; {}", what(only));
    } else {
        message += &format!(". {} columns are no labels as they stand:", offences.len());
        for (what, names) in grouped(&offences) {
            message += &format!("\n  {}: {what}", list(names));
        }
    }
    message += &remedy(&offences, columns, called);
    Err((Some(first.line), message))
}

/// Columns about which there is the same to say, in the order of the file. Cells that nothing is known about are counted together.
fn grouped<'s>(offences: &[Offence<'s>]) -> Vec<(String, Vec<&'s str>)> {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    let open = |offence: &&Offence<'_>| offence.look == Look::Label && !is_signed(offence.profile);
    let sum = |of: fn(&Profile) -> usize| offences.iter().filter(open).map(|offence| of(offence.profile)).sum();
    let together = undecided(sum(|profile| profile.blanks), sum(|profile| profile.minus_ones));
    for offence in offences {
        let said = if open(&offence) { together.clone() } else { what(offence) };
        match groups.iter_mut().find(|(known, _)| *known == said) {
            Some((_, names)) => names.push(offence.name),
            None => groups.push((said, vec![offence.name])),
        }
    }
    let more = groups.len().saturating_sub(SHOWN);
    groups.truncate(SHOWN);
    if more > 0 {
        groups.push((format!("and {more} kinds more"), Vec::new()));
    }
    groups
}

/// What a column holds, and what that means.
fn what(offence: &Offence<'_>) -> String {
    let Profile { zeros, ones, others, blanks, minus_ones, .. } = offence.profile;
    match &offence.look {
        _ if is_slip(offence) => format!("{} of {} cells are neither 0 nor 1: correct them", others, offence.profile.filled()),
        Look::Label if is_signed(offence.profile) => "-1 and 1, no 0: does -1 mean 0".to_owned(),
        Look::Label => undecided(*blanks, *minus_ones),
        Look::SplitFlag => format!("{zeros} of 0 and {ones} of 1, and a name as of a split"),
        Look::Split => "names of splits".to_owned(),
        Look::Fold => "numbers of folds".to_owned(),
        Look::Group { groups } => {
            format!("who a row belongs to ({groups} values): rows that share one must not lie in two splits")
        }
        Look::Path => "names of pictures".to_owned(),
        Look::Index => "a count of the rows".to_owned(),
        Look::Lists { separator, names } => format!("lists of {} names, separated by {separator:?}", names.len()),
        Look::Names { names } if names.len() == 1 => format!("`{}` and nothing else", shown(&names[0])),
        Look::Names { names } => format!("one of {} names ({})", names.len(), few(names)),
        Look::Words { yes, no } => {
            let no = if no.is_empty() { "blanks".to_owned() } else { format!("`{}`", shown(no)) };
            format!("`{}` and {no} in place of 1 and 0", shown(yes))
        }
        Look::Soft => "numbers between 0 and 1: soft labels need a threshold of yours".to_owned(),
        Look::Counts { most } => format!("whole numbers up to {most}: is more than 0 a 1?"),
        Look::Numbers { low, high } => format!("numbers from {low} to {high}"),
        Look::Text => "text".to_owned(),
        Look::Empty => "blank throughout".to_owned(),
    }
}

/// Blanks and cells of -1 that nothing was decided about.
fn undecided(blanks: usize, minus_ones: usize) -> String {
    let blanks = match blanks {
        0 => None,
        1 => Some("1 blank".to_owned()),
        _ => Some(format!("{blanks} blanks")),
    };
    let minus = (minus_ones > 0).then(|| format!("{minus_ones} of -1"));
    let open: Vec<String> = blanks.into_iter().chain(minus).collect();
    format!("{}: nothing says whether they are 0 or 1", open.join(" and "))
}

/// Whether the column holds -1 and 1 throughout.
fn is_signed(profile: &Profile) -> bool {
    profile.zeros == 0 && profile.blanks == 0 && profile.others == 0 && profile.minus_ones > 0
}

/// Whether the column is one of 0 and 1 with a few slips.
fn is_slip(offence: &Offence<'_>) -> bool {
    let Profile { zeros, ones, others, .. } = offence.profile;
    *others > 0 && SLIPS * others <= zeros + ones
}

fn few(names: &[String]) -> String {
    let first: Vec<String> = names.iter().take(3).map(|name| shown(name)).collect();
    first.join(", ") + if names.len() > 3 { ", ..." } else { "" }
}

/// The keys with which the file can be read.
fn remedy(offences: &[Offence<'_>], columns: &Columns, called: Called) -> String {
    let mut keys = Remedy { ignore: columns.ignore.clone(), ..Remedy::default() };
    for offence in offences {
        keys.flag |= offence.is_by_name();
        keys.add(offence, columns);
    }
    match called {
        Called::Keys => keys.toml(columns),
        Called::Flags => keys.flags(columns),
    }
}

/// Keys and what they would say.
#[derive(Default)]
struct Remedy {
    ignore: Vec<String>,
    split: Option<String>,
    group: Option<String>,
    path: Option<String>,
    lists: Vec<(String, String)>,
    positive: Vec<String>,
    negative: Vec<String>,
    unknown: bool,
    /// Whether names alone say that columns are no labels; whether that of the split does.
    flag: bool,
    split_flag: bool,
    names: bool,
}

impl Remedy {
    fn add(&mut self, offence: &Offence<'_>, columns: &Columns) {
        let name = offence.name.to_owned();
        let word = |words: &mut Vec<String>, word: &str| {
            if !words.iter().any(|known| known == word) {
                words.push(word.to_owned());
            }
        };
        if is_slip(offence) {
            return;
        }
        match &offence.look {
            Look::Split | Look::SplitFlag
                if self.split.is_none()
                    && columns.split.is_none()
                    && (offence.look == Look::Split || flagged_split(&name).is_some()) =>
            {
                self.split_flag |= offence.look == Look::SplitFlag;
                self.split = Some(name);
            }
            Look::Group { .. } if self.group.is_none() && columns.group.is_none() => self.group = Some(name),
            Look::Path if self.path.is_none() && columns.path.is_none() => self.path = Some(name),
            Look::Lists { separator, .. } => self.lists.push((name, separator.to_string())),
            Look::Words { yes, no } => {
                word(&mut self.positive, yes);
                word(&mut self.negative, no);
            }
            Look::Label if is_signed(offence.profile) => word(&mut self.negative, "-1"),
            Look::Label => self.unknown = true,
            Look::Soft | Look::Counts { .. } => {}
            look => {
                self.names |= matches!(look, Look::Names { .. });
                self.ignore.push(name);
            }
        }
    }

    /// Lines for the sweep file.
    fn toml(&self, columns: &Columns) -> String {
        let all = |names: &[String]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let mut lines = Vec::new();
        let text = |key: &str, value: &Option<String>, note: &str| {
            value.as_ref().map(|value| format!("{key} = {}{note}", quoted(value)))
        };
        lines.extend(text("path_column", &self.path, ""));
        let flag = if self.split_flag { "    # 1 is val or test, as its name says, and 0 is train" } else { "" };
        lines.extend(text("split_column", &self.split, flag));
        lines.extend(text("group_column", &self.group, ""));
        if self.ignore.len() > columns.ignore.len() {
            let note = if self.names { "    # or label_lists = { NAME = \"|\" }: a label for each name" } else { "" };
            lines.push(format!("ignore_columns = [{}]{note}", all(&self.ignore)));
        }
        if !self.lists.is_empty() {
            let lists: Vec<String> =
                self.lists.iter().map(|(name, separator)| format!("{} = {}", quoted(name), quoted(separator))).collect();
            lines.push(format!(
                "label_lists = {{ {} }}    # and no_label = \"...\" if one of the names says that there is none",
                lists.join(", ")
            ));
        }
        if !self.positive.is_empty() {
            lines.push(format!("positive = [{}]", all(&self.positive)));
        }
        if !self.negative.is_empty() {
            lines.push(format!("negative = [{}]", all(&self.negative)));
        }
        if self.unknown {
            lines.push(
                "unknown = \"ignore\"    # left out; or \"negative\" (0), \"positive\" (1). If a blank is a 0: negative = [\"\"]"
                    .to_owned(),
            );
        }
        if self.flag {
            lines.push("# or, if it is a label after all: label_columns = [...], with the names of all labels".to_owned());
        }
        if lines.is_empty() { String::new() } else { format!("\nthis would settle it, below [data]:\n{}", lines.join("\n")) }
    }

    /// Flags of `sweep import`, and what to do where there is none.
    fn flags(&self, columns: &Columns) -> String {
        let mut flags = Vec::new();
        flags.extend(self.path.as_ref().map(|name| format!("--path-column {name:?}")));
        flags.extend(self.split.as_ref().map(|name| format!("--split-column {name:?}")));
        let mut ignore = self.ignore.clone();
        ignore.extend(self.group.clone());
        if ignore.len() > columns.ignore.len() {
            flags.push(format!("--ignore-columns {:?}", ignore.join(",")));
        }
        flags.extend(self.unknown.then(|| "--unknown ignore".to_owned()));
        let rest = if self.lists.is_empty() && self.positive.is_empty() && self.negative.is_empty() {
            ""
        } else {
            "; write 0 and 1, in a column for each label"
        };
        if flags.is_empty() { rest.to_owned() } else { format!(": {}{rest}", flags.join(" ")) }
    }
}
