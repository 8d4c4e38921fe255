//! The columns of a summary that are shown, and the lines above and below the table.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::group::PREPARED;
use super::short_values::{ShortValues, scientific};
use super::summary::{Absent, Row, Spread, Summary};
use super::text_grid::{Grid, Head, NONE, number, percent, shorten, spread, text};
use store::At;

/// The identifying columns that differ between rows: only those are shown.
pub struct Layout<'s> {
    summary: &'s Summary,
    varying: Vec<&'s str>,
    policy: bool,
    /// Whether rows differ in their gradient steps.
    steps: bool,
    /// The short forms of the values of each varying column.
    values: Vec<ShortValues>,
}

/// How the identifying columns of a ranking are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// A column for each.
    Apart,
    /// One column with all of them: for narrow screens.
    Joined,
}

impl<'s> Layout<'s> {
    /// The layout that suits the rows.
    #[must_use]
    pub fn of(summary: &'s Summary) -> Self {
        let strategies = || summary.rows.iter().filter(|row| row.is_strategy());
        let texts = |column: &str| strategies().map(|row| text(row.strategy.get(column))).collect::<BTreeSet<String>>();
        let policies: BTreeSet<&str> = strategies().map(|row| row.policy.as_str()).collect();
        let one = strategies().count() == 1;
        let names = summary.group_by.iter().map(String::as_str);
        // A lone strategy shows what it has; the name of a reference run stands where losses do.
        let references = summary.rows.iter().any(|row| row.reference.is_some());
        let varies = |name: &str| if one { texts(name) != [NONE.to_owned()].into() } else { texts(name).len() > 1 };
        let varying: Vec<&str> = names.filter(|name| varies(name) || (references && *name == "loss")).collect();
        let values = varying.iter().map(|name| ShortValues::of(&texts(name))).collect();
        let steps = strategies().map(|row| row.steps).collect::<BTreeSet<_>>().len() > 1;
        Self { summary, varying, policy: policies.len() > 1 || one, steps, values }
    }

    /// The identifying columns that are shown: the name of each, its title, and whether its values are numbers.
    #[must_use]
    pub fn columns(&self) -> Vec<(String, String, bool)> {
        self.varying.iter().map(|name| ((*name).to_owned(), self.short(name).to_owned(), self.numeric(name))).collect()
    }

    /// The value of each of [`Self::columns`]; a reference run's name stands in the first.
    #[must_use]
    pub fn names(&self, row: &Row) -> Vec<String> {
        match row.reference {
            Some(reference) => self.reference_names(row, reference),
            None => {
                self.varying.iter().zip(&self.values).map(|(name, values)| values.get(&text(row.strategy.get(*name)))).collect()
            }
        }
    }

    /// Two or three lines that say what the table shows.
    #[must_use]
    pub fn title(&self) -> Vec<String> {
        let Summary { sweep, metric, split, runs, strategies, .. } = self.summary;
        let better = if self.summary.lower_is_better { " (lower is better)" } else { "" };
        let shown = self.summary.rows.iter().filter(|row| row.is_strategy()).count();
        let of = if shown < *strategies { format!("best {shown} of {strategies}") } else { format!("{strategies}") };
        let rows = if *strategies == 1 { "row" } else { "rows" };
        let (epoch, split) = (epoch(&self.summary.epoch), split.name());
        let Some(first) = self.summary.rows.iter().find(|row| row.is_strategy()) else {
            return vec![format!(
                "{sweep}: {metric}{better} on {split}, {epoch}; {} of {} runs recorded",
                runs.recorded, runs.total
            )];
        };
        let mut lines = vec![format!(
            "{sweep}: {metric}{better} on {split}, {epoch}; {of} {rows}, {} of {} runs recorded",
            runs.recorded, runs.total
        )];
        let fixed = self.summary.group_by.iter().filter(|name| !self.varying.contains(&name.as_str()));
        let fixed = fixed.map(|name| (name.as_str(), text(first.strategy.get(name)))).filter(|(_, value)| value != NONE);
        let fixed = fixed.chain((!self.policy).then(|| ("policy", first.policy.clone())));
        let fixed: Vec<String> = fixed.map(|(name, value)| format!("{name} {}", scientific(&value))).collect();
        if !fixed.is_empty() {
            lines.push(format!("every row: {}", fixed.join(", ")));
        }
        let shared: Vec<&str> = self.values.iter().flat_map(|values| &values.shared).map(String::as_str).collect();
        if !shared.is_empty() {
            lines.push(format!("every {}", shared.join("; every ")));
        }
        lines
    }

    /// A line above the table of a data set, where there are several.
    #[must_use]
    pub fn data_title(&self, data: usize) -> Option<String> {
        let set = &self.summary.data[data];
        let content: Vec<&str> = set.content.iter().map(|hash| hash.get(..8).unwrap_or(hash)).collect();
        let (number, split) = (data + 1, self.summary.split.name());
        (self.summary.data.len() > 1).then(|| {
            format!("data set {number} ({}): {} {split} rows, {} labels", content.join(", "), set.rows, set.labels.len())
        })
    }

    /// The ranking of one data set, and its rows in the same order. Rows with the same results as an earlier one stand below it, with
    /// `=` and their names alone.
    #[must_use]
    pub fn ranking(&self, data: usize, names: Names) -> (Grid, Vec<&'s Row>) {
        let rows = self.rows(data);
        let (metric, split) = (self.summary.metric, self.summary.split.name());
        let on_test = split == "test";
        let mut heads = vec![Head::new("#", true)];
        match names {
            Names::Apart => {
                heads.extend(self.varying.iter().map(|name| Head::new(self.short(name), self.numeric(name))));
                heads.extend(self.policy.then(|| Head::new("policy", false)));
            }
            Names::Joined => heads.push(Head::new("strategy", false)),
        }
        let identifying = heads.len() - 1;
        heads.push(Head::new(metric, true));
        // On val a column of its own, beside the value on the rows that thresholds are fitted on.
        let flattered = !on_test && rows.iter().any(|row| row.held_out.is_some() && row.held_out != row.val);
        heads.extend((on_test || flattered).then(|| Head::new(if on_test { "on val" } else { "held out" }, true)));
        heads.extend((metric != "macro_ap").then(|| Head::new("macro_ap", true)));
        heads.extend(["predicted", "prevalence"].map(|title| Head::new(title, true)));
        heads.extend(self.steps.then(|| Head::new("steps", true)));
        heads.push(Head::new("n", true));
        let value = |row: &Row| row.metrics.get(metric).copied();
        let ap = |row: &Row| row.metrics.get("macro_ap").copied();
        let padded =
            |of: &dyn Fn(&Row) -> Option<Spread>| rows.iter().any(|row| of(row).is_some_and(|spread| spread.sd.is_some()));
        let (pad, pad_ap) = (padded(&value), padded(&ap));
        let line = |row: &&Row| {
            let rank = row.rank.map_or_else(|| NONE.to_owned(), |rank| rank.to_string());
            let like_another = self.leader(row).is_some();
            let mut cells = vec![match row.is_strategy() {
                _ if like_another => "=".to_owned(),
                true => rank,
                false => format!("({rank})"),
            }];
            match names {
                Names::Joined => cells.push(self.words(row).iter().map(|word| together(word)).collect::<Vec<_>>().join(", ")),
                Names::Apart if row.baseline => {
                    cells.extend((0..identifying).map(|at| if at == 0 { "all-positive".to_owned() } else { String::new() }));
                }
                Names::Apart => match row.reference {
                    Some(reference) => cells.extend(self.reference_cells(row, reference)),
                    None => {
                        cells.extend(self.names(row));
                        cells.extend(self.policy.then(|| row.policy.clone()));
                    }
                },
            }
            if like_another {
                cells.resize(heads.len(), String::new());
                return cells;
            }
            cells.push(spread(value(row), pad));
            let on_val = if on_test { row.ranked_by() } else { row.held_out };
            cells.extend((on_test || flattered).then(|| on_val.map_or_else(|| NONE.to_owned(), |val| number(val.mean))));
            cells.extend((metric != "macro_ap").then(|| spread(ap(row), pad_ap)));
            cells.push(row.predicted_rate.map_or_else(|| NONE.to_owned(), |rate| percent(rate.mean)));
            cells.push(percent(self.summary.data[row.data].prevalence));
            cells.extend(self.steps.then(|| match row.steps {
                _ if !row.is_strategy() => String::new(),
                Some(steps) => steps.to_string(),
                None => NONE.to_owned(),
            }));
            cells.push(match row {
                row if !row.is_strategy() => String::new(),
                row if row.n == row.of => row.n.to_string(),
                row => format!("{}/{}", row.n, row.of),
            });
            cells
        };
        let cells = rows.iter().map(line).collect();
        (Grid { heads, rows: cells }, rows)
    }

    /// The rows of a data set as they are shown: those with equal results one below the other.
    fn rows(&self, data: usize) -> Vec<&'s Row> {
        let rows = &self.summary.rows;
        let followers = |row: &'s Row| row.equal_to.iter().filter_map(|&other| rows.get(other));
        let leaders = rows.iter().filter(|row| row.data == data && self.leader(row).is_none());
        leaders.flat_map(|row| std::iter::once(row).chain(followers(row))).collect()
    }

    /// The first of the rows with the same results; `None` for that row itself, and where there are none.
    #[must_use]
    pub fn leader(&self, row: &Row) -> Option<&'s Row> {
        let rows = &self.summary.rows;
        let first = rows.get(*row.equal_to.first()?)?;
        let place = |wanted: &Row| rows.iter().position(|row| std::ptr::eq(row, wanted));
        (place(first) < place(row)).then_some(first)
    }

    /// The labels of one row.
    #[must_use]
    pub fn labels(row: &Row) -> Grid {
        let known = row.labels.iter().any(|line| line.known.is_some());
        let titles = ["ap", "precision", "recall", "f1", "threshold", "prevalence", "predicted"];
        let titles = titles.into_iter().chain(known.then_some("known"));
        let heads = [Head::new("label", false)].into_iter().chain(titles.map(|title| Head::new(title, true))).collect();
        let line = |line: &super::summary::LabelLine| {
            let mut cells = vec![
                shorten(&line.label, 40),
                line.ap.map_or_else(|| NONE.to_owned(), number),
                number(line.precision),
                number(line.recall),
                number(line.f1),
                number(line.threshold),
                percent(line.prevalence),
                percent(line.predicted_rate),
            ];
            cells.extend(line.known.map(|known| known.to_string()));
            cells
        };
        Grid { heads, rows: row.labels.iter().map(line).collect() }
    }

    /// The identifying cells of a reference run: its name in the first column, what decides its features.
    fn reference_names(&self, row: &Row, reference: &str) -> Vec<String> {
        let own = |name: &str| name.starts_with("data.") || name.starts_with("model.") || name == PREPARED;
        let value = |name: &str| Some(text(row.strategy.get(name))).filter(|value| own(name) && value != NONE);
        let columns = self.varying.iter().zip(&self.values).map(|(name, values)| value(name).map(|value| values.get(&value)));
        let mut cells: Vec<String> = columns.map(Option::unwrap_or_default).collect();
        if let Some(first) = cells.first_mut() {
            *first = if first.is_empty() { reference.to_owned() } else { format!("{reference}, {first}") };
        }
        cells
    }

    /// The same, and its policy.
    fn reference_cells(&self, row: &Row, reference: &str) -> Vec<String> {
        let mut cells = self.reference_names(row, reference);
        cells.extend(self.policy.then(|| row.policy.clone()));
        cells
    }

    /// The name of the row: the values in which it differs from the others.
    #[must_use]
    pub fn name(&self, row: &Row) -> String {
        self.words(row).join(", ")
    }

    fn words(&self, row: &Row) -> Vec<String> {
        if row.baseline {
            return vec!["all-positive".to_owned()];
        }
        if let Some(reference) = row.reference {
            return vec![reference.to_owned(), format!("threshold {}", row.policy)];
        }
        let words = self.varying.iter().zip(&self.values).filter_map(|(name, values)| self.word(&row.strategy, name, values));
        words.chain(self.policy.then(|| format!("threshold {}", row.policy))).collect()
    }

    /// `sqrt`, `gamma 2`; nothing where a strategy has no such value.
    fn word(&self, strategy: &Map<String, Value>, name: &str, values: &ShortValues) -> Option<String> {
        let value = values.get(&text(strategy.get(name)));
        let named = !["loss", "pos_weight", "sampler"].contains(&name);
        (value != NONE).then(|| if named { format!("{} {value}", self.short(name)) } else { value })
    }

    /// How the numbers are to be read.
    #[must_use]
    pub fn footnotes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self.summary.notes.clone();
        let rows = || self.summary.rows.iter().filter(|row| row.is_strategy());
        if rows().any(|row| row.n > 1) {
            let seeds = if self.summary.group_by.iter().any(|name| name == "seed") { "runs" } else { "seeds" };
            let seeds = if self.averages_only_seeds() { seeds } else { "runs" };
            notes.push(format!(
                "mean ± standard deviation over n {seeds} (ddof 1): of these rows; sweep explain allows for other rows, too"
            ));
        }
        if self.steps {
            notes.push("steps: gradient steps until a run ended on its own, median over its runs".to_owned());
        }
        if rows().any(|row| !row.equal_to.is_empty()) {
            notes.push(
                "=: the same counts for every label, and the same values to the digits shown, as the row above: on these data the two \
                 strategies are one"
                    .to_owned(),
            );
        }
        if rows().any(|row| row.n < row.of) {
            notes.push("n 2/3: two of the three runs have a result".to_owned());
        }
        if self.summary.rows.iter().any(|row| row.baseline) {
            notes.push("all-positive predicts every label for every row; its rank is the one it would have".to_owned());
        }
        if self.summary.rows.iter().any(|row| row.reference.is_some()) {
            notes.push(
                "logistic, logistic_balanced: a converged logistic regression on the same features, its strength chosen on val, plain and with \
                 balanced classes; not strategies of the grid, so their ranks are in parentheses too"
                    .to_owned(),
            );
        }
        if self.policy && rows().count() > 1 {
            notes.push("macro_ap needs no threshold: where it is equal, only the decision point differs".to_owned());
        }
        // Those that were stopped early have a note of their own.
        let unexplained = |absent: &&Absent| absent.failed + absent.left + absent.elsewhere > 0 || self.summary.search.is_none();
        let without_results: Vec<&Absent> = self.summary.without_results.iter().filter(unexplained).collect();
        for absent in without_results.iter().take(5) {
            let values = ShortValues::default();
            let name: Vec<String> =
                self.summary.group_by.iter().filter_map(|name| self.word(&absent.strategy, name, &values)).collect();
            let states = [
                (absent.failed, "failed"),
                (absent.left, "to be done"),
                (absent.stopped, "stopped"),
                (absent.elsewhere, "without rows here"),
            ];
            let states: Vec<String> = states.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
            notes.push(format!("no result: {} ({})", name.join(", "), states.join(", ")));
        }
        if without_results.len() > 5 {
            notes.push(format!("no result: {} strategies more", without_results.len() - 5));
        }
        notes
    }

    /// Whether rows are averages over seeds only: rows are grouped by every other column.
    fn averages_only_seeds(&self) -> bool {
        let names = &self.summary.group_by;
        ["loss", "pos_weight", "gamma", "sampler"].iter().all(|name| names.iter().any(|other| other == name))
    }

    /// The last part of a dotted key, where no other column ends so.
    fn short<'n>(&self, name: &'n str) -> &'n str {
        let last = |name: &'n str| name.rsplit('.').next().unwrap_or(name);
        let alike = self.summary.group_by.iter().filter(|other| other.rsplit('.').next() == Some(last(name))).count();
        if alike > 1 { name } else { last(name) }
    }

    fn numeric(&self, name: &str) -> bool {
        self.summary.rows.iter().filter_map(|row| row.strategy.get(name)).all(|value| value.is_number() || value.is_null())
    }
}

/// Characters of a name and its value that stay on one line.
const TOGETHER: usize = 32;

/// `optimizer sgd(momentum=0.9)` with a blank that no line ends at.
fn together(word: &str) -> String {
    if word.chars().count() <= TOGETHER { word.replace(' ', "\u{a0}") } else { word.to_owned() }
}

/// The epoch, spelled out.
fn epoch(epoch: &str) -> String {
    match epoch {
        epoch if epoch == At::Best.to_string() => "best epoch (by val macro_ap)".to_owned(),
        epoch if epoch == At::Last.to_string() => "last epoch".to_owned(),
        number => format!("epoch {number}"),
    }
}
