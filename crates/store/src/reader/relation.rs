//! Every table and view of the database, row by row, as an export writes them.

use std::path::Path;

use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, TypeInfo, ValueRef};

use super::Reader;
use crate::open::Stamp;
use crate::{StoreError, SweepId};

/// A table or view that is exported.
#[derive(Debug, PartialEq, Eq)]
pub struct Relation {
    pub name: &'static str,
    pub is_view: bool,
    /// Which rows belong to the sweep `?1`: SQL.
    of_sweep: &'static str,
}

/// The runs of the sweep `?1`, and those that are to replace one of them: SQL.
macro_rules! runs {
    () => {
        "(SELECT run FROM sweep_runs WHERE sweep = ?1 UNION SELECT again FROM sweep_runs WHERE sweep = ?1 AND again IS NOT NULL)"
    };
}
macro_rules! of_runs {
    ($column:literal) => {
        concat!($column, " IN ", runs!())
    };
}
macro_rules! of_evaluations {
    ($column:literal) => {
        concat!($column, " IN (SELECT id FROM evaluations WHERE ", of_runs!("run"), ")")
    };
}
macro_rules! of_data {
    ($column:literal) => {
        concat!($column, " IN (SELECT data FROM runs WHERE ", of_runs!("id"), ")")
    };
}

const fn table(name: &'static str, of_sweep: &'static str) -> Relation {
    Relation { name, is_view: false, of_sweep }
}

const fn view(name: &'static str) -> Relation {
    Relation { name, is_view: true, of_sweep: "sweep_id = ?1" }
}

/// All of them but SQLite's and the migrations' own. A test compares them with the schema.
pub const RELATIONS: [Relation; 27] = [
    table("sweeps", "id = ?1"),
    table("datasets", of_data!("id")),
    table("labels", of_data!("data")),
    // Also those that the runs were evaluated under for other sweeps: the views have their rows.
    table(
        "policies",
        concat!(
            "id IN (SELECT policy FROM sweep_policies WHERE sweep = ?1 UNION SELECT policy FROM evaluations WHERE ",
            of_runs!("run"),
            ")"
        ),
    ),
    table("sweep_policies", "sweep = ?1"),
    table("sweep_runs", "sweep = ?1"),
    table("runs", of_runs!("id")),
    table("attempts", of_runs!("run")),
    table("journals", concat!("id IN (SELECT journal FROM attempts WHERE ", of_runs!("run"), ")")),
    table("submissions", "sweep = ?1"),
    table("slices", "submission IN (SELECT id FROM submissions WHERE sweep = ?1)"),
    table("slice_runs", "submission IN (SELECT id FROM submissions WHERE sweep = ?1)"),
    table("epochs", of_runs!("run")),
    table("rankings", of_runs!("run")),
    table("label_rankings", of_runs!("run")),
    table("evaluations", of_runs!("run")),
    table("label_counts", of_evaluations!("evaluation")),
    table("held_out", of_evaluations!("evaluation")),
    table("label_held_out", of_evaluations!("evaluation")),
    table("draws", of_runs!("run")),
    table("label_draws", of_runs!("run")),
    table("searches", "sweep = ?1"),
    table("search_decisions", "sweep = ?1"),
    view("leaderboard"),
    view("label_metrics"),
    view("leaderboard_all"),
    view("label_metrics_all"),
];

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Integer,
    Real,
    Text,
}

/// A column of a [`Relation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnOf {
    pub name: String,
    pub kind: Kind,
}

/// A value as SQLite keeps it.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
}

/// Rows that are read one after the other. Never more than a few of them are in memory.
pub struct Rows<'r> {
    path: &'r Path,
    still: Option<&'r Stamp>,
    kinds: Vec<Kind>,
    stream: BoxStream<'r, Result<SqliteRow, sqlx::Error>>,
}

impl Rows<'_> {
    /// The next row; `None` after the last one.
    ///
    /// # Errors
    /// See [`StoreError`]; a sweep that began to write where there was no writer.
    pub async fn next(&mut self) -> Result<Option<Vec<Cell>>, StoreError> {
        let fail = |source| StoreError::from_sqlite(self.path, source);
        let Some(row) = self.stream.try_next().await.map_err(fail)? else {
            // What was read without locks holds if the file is what it was.
            return match self.still {
                Some(still) if !still.holds(self.path) => Err(StoreError::overtaken(self.path)),
                _ => Ok(None),
            };
        };
        let kind = |at| self.kinds.get(at).copied().unwrap_or(Kind::Text);
        (0..row.len()).map(|at| cell(&row, at, kind(at))).collect::<Result<_, _>>().map(Some).map_err(fail)
    }
}

/// Integers up to it are the same number as REAL.
const EXACT: u64 = 1 << 53;

fn cell(row: &SqliteRow, at: usize, wanted: Kind) -> Result<Cell, sqlx::Error> {
    let value = row.try_get_raw(at)?;
    let kind = value.type_info().into_owned();
    let fail = |source| sqlx::Error::ColumnDecode { index: at.to_string(), source };
    if value.is_null() {
        return Ok(Cell::Null);
    }
    match kind.name() {
        // Sorted, a generated REAL that is a whole number comes as INTEGER.
        "INTEGER" => <i64 as Decode<sqlx::Sqlite>>::decode(value).map(|number| match wanted {
            Kind::Real if number.unsigned_abs() <= EXACT => Cell::Real(number as f64),
            _ => Cell::Integer(number),
        }),
        "REAL" => <f64 as Decode<sqlx::Sqlite>>::decode(value).map(Cell::Real),
        "TEXT" => <String as Decode<sqlx::Sqlite>>::decode(value).map(Cell::Text),
        other => Err(format!("a value of type {other}").into()),
    }
    .map_err(fail)
}

/// The kind of a view's column that is computed, which SQLite does not say. A test compares it with values.
fn computed(name: &str) -> Kind {
    match name {
        "best_epoch" | "last_epoch" | "held_out_tp" | "held_out_fp" | "held_out_fn" | "held_out_tn" => Kind::Integer,
        _ => Kind::Real,
    }
}

impl Reader {
    /// From here on, all answers are of one state of the database.
    ///
    /// # Errors
    /// See [`StoreError`]. Later questions fail where a sweep begins to write to a database that had no writer.
    pub async fn hold(&mut self) -> Result<(), StoreError> {
        let begun = sqlx::query("BEGIN").execute(self.connected().await?).await;
        self.told(begun)?;
        // The transaction begins with the first look at a table.
        let looked = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM sweeps").fetch_one(self.connected().await?).await;
        self.told(looked)?;
        self.held = true;
        Ok(())
    }

    /// The columns of a table or view, in their order.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn columns(&mut self, relation: &Relation) -> Result<Vec<ColumnOf>, StoreError> {
        // Hidden columns of kind 1 are those of virtual tables; 2 and 3 are generated, which `*` shows.
        let found = sqlx::query_as("SELECT name, type FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid")
            .bind(relation.name)
            .fetch_all(self.connected().await?)
            .await;
        let found: Vec<(String, String)> = self.told(found)?;
        let column = |(name, declared): (String, String)| {
            let kind = match declared.split(' ').next().unwrap_or_default() {
                "INTEGER" | "INT" => Kind::Integer,
                "REAL" => Kind::Real,
                "TEXT" => Kind::Text,
                _ => computed(&name),
            };
            ColumnOf { name, kind }
        };
        Ok(found.into_iter().map(column).collect())
    }

    /// The rows of a table or view, or those that belong to one sweep: tables in the order of their keys, views in the order of their
    /// sweeps and runs.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn rows(&mut self, relation: &Relation, sweep: Option<SweepId>) -> Result<Rows<'_>, StoreError> {
        let condition = sweep.map_or_else(String::new, |_| format!(" WHERE {}", relation.of_sweep));
        // In the order of the keys nothing is sorted. A view is made in the order of its loops; a sort would hold all of it.
        let order = if relation.is_view { String::new() } else { self.order(relation).await? };
        let query = format!("SELECT * FROM {}{condition}{order}", relation.name);
        let kinds = self.columns(relation).await?.into_iter().map(|column| column.kind).collect();
        let mut query = sqlx::query(sqlx::AssertSqlSafe(query)); // made of constants and of names in the schema
        if let Some(sweep) = sweep {
            query = query.bind(sweep);
        }
        let Self { path, still, connection, .. } = self;
        Ok(Rows { path, still: still.as_ref(), kinds, stream: query.fetch(connection) })
    }

    /// ` ORDER BY` the primary key of a table.
    async fn order(&mut self, relation: &Relation) -> Result<String, StoreError> {
        let key = sqlx::query_scalar("SELECT group_concat(name, ', ' ORDER BY pk) FROM pragma_table_info(?) WHERE pk > 0")
            .bind(relation.name)
            .fetch_one(self.connected().await?)
            .await;
        let key: Option<String> = self.told(key)?;
        Ok(key.map_or_else(String::new, |key| format!(" ORDER BY {key}")))
    }
}
