//! Sweeps: what they ask for, and what is still missing.

use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, QueryBuilder, Row, Sqlite};

use super::forget::policies_of_replaced;
use super::{Known, Missing, Writer, transaction};
use crate::{StoreError, SweepId, disk, host, json, now};
use imbalance::threshold::Policy;
use plan::Recorded;
use plan::{DataFacts, Fingerprint, Plan, PlannedRun};
use protocol::{Job, VERSION};

impl Writer {
    /// Records the sweep, its runs (those that exist already are only linked), labels and policies. One transaction.
    /// A sweep of the same name and equal content (same runs, same policies) is continued, not doubled; one of the same name and
    /// other content takes the name over.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn begin_sweep(&mut self, plan: &Plan, file: &Path, text: impl Into<Recorded>) -> Result<SweepId, StoreError> {
        let (base, text) = (base(&self.path), text.into());
        transaction!(self, |tx, known| Self::insert_sweep(known, tx, plan, (file, &text), &base).await?)
    }

    /// The rows of [`Self::begin_sweep`]; `base` is the folder of the database.
    pub(super) async fn insert_sweep(
        known: &mut Known,
        tx: &mut SqliteConnection,
        plan: &Plan,
        (file, text): (&Path, &Recorded),
        base: &Path,
    ) -> Result<SweepId, sqlx::Error> {
        // Which policies a run is evaluated under may change.
        known.runs.clear();
        let sweep = upsert_sweep(tx, plan, file, text).await?;
        let mut data = Vec::with_capacity(plan.data.len());
        for (_, facts) in &plan.data {
            let folder = portable(&facts.folder, base).to_string_lossy().into_owned();
            data.push((upsert_data(tx, facts).await?, folder));
        }
        sqlx::query("DELETE FROM sweep_policies WHERE sweep = ?").bind(sweep).execute(&mut *tx).await?;
        for (position, policy) in plan.policies.iter().enumerate() {
            let id = Self::policy(known, tx, policy).await?;
            sqlx::query("INSERT INTO sweep_policies (sweep, policy, position) VALUES (?, ?, ?)")
                .bind(sweep)
                .bind(id)
                .bind(position as i64)
                .execute(&mut *tx)
                .await?;
        }
        sqlx::query("DELETE FROM sweep_runs WHERE sweep = ?").bind(sweep).execute(&mut *tx).await?;
        let runs: Vec<(usize, &PlannedRun)> = plan.runs.iter().enumerate().collect();
        for runs in runs.chunks(TOGETHER) {
            insert_runs(tx, runs, &data, sweep).await?;
        }
        Ok(sweep)
    }

    /// Which of these runs are recorded with a complete result.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn recorded(&mut self, runs: &[Fingerprint]) -> Result<Vec<bool>, StoreError> {
        crate::reader::recorded(&mut self.connection, runs).await.map_err(|e| StoreError::from_sqlite(&self.path, e))
    }

    /// The runs of the sweep that have no result: queued ones, interrupted ones, and with `failed` those that failed for good. Those that
    /// a cluster has are not among them.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn missing(&mut self, sweep: SweepId, failed: bool) -> Result<Vec<Missing>, StoreError> {
        let base = base(&self.path);
        let found = async {
            let found = missing(&mut self.connection, sweep, failed, &base).await?;
            // Looked up at once, not one by one as they begin.
            let runs: Vec<Fingerprint> = found.iter().map(|missing| missing.job.run.clone()).collect();
            Self::runs(&mut self.known, &mut self.connection, &runs).await?;
            Ok(found)
        };
        found.await.map_err(|source| StoreError::from_sqlite(&self.path, source))
    }

    /// Succeeded runs of the sweep that lack evaluations under some of its policies.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn unevaluated(&mut self, sweep: SweepId) -> Result<Vec<(Fingerprint, Vec<Policy>)>, StoreError> {
        let found = unevaluated(&mut self.connection, sweep).await;
        found.map_err(|source| StoreError::from_sqlite(&self.path, source))
    }

    /// Marks a recorded sweep as running again: from now on it is the latest one, and its throughput is counted anew.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn continue_sweep(&mut self, sweep: SweepId) -> Result<(), StoreError> {
        transaction!(self, |tx, _known| {
            sqlx::query(
                "UPDATE sweeps SET state = 'running', turn = (SELECT max(turn) + 1 FROM sweeps), begun_at = ?2, finished_at = NULL,
                        version = ?3, host = ?4
                 WHERE id = ?1",
            )
            .bind(sweep)
            .bind(now())
            .bind(env!("CARGO_PKG_VERSION"))
            .bind(host())
            .execute(&mut *tx)
            .await?;
        })
    }

    /// Sets the sweep's state: `running`, `done`, `failed`, `interrupted`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn set_sweep_state(&mut self, sweep: SweepId, state: &str) -> Result<(), StoreError> {
        transaction!(self, |tx, _known| {
            sqlx::query(
                "UPDATE sweeps SET state = ?2, finished_at = CASE WHEN ?2 = 'running' THEN NULL ELSE ?3 END WHERE id = ?1",
            )
            .bind(sweep)
            .bind(state)
            .bind(now())
            .execute(&mut *tx)
            .await?;
        })
    }
}

/// The folder of the database, as an absolute path: prepared data below it is stored relative to it, so that both can be moved together.
pub(super) fn base(db: &Path) -> PathBuf {
    let folder = archive::file::folder_of(db);
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}

/// `folder` as it is stored: relative to `base` where it lies below it, else absolute.
fn portable(folder: &Path, base: &Path) -> PathBuf {
    let absolute = |path: &Path| std::path::absolute(if path.as_os_str().is_empty() { Path::new(".") } else { path });
    match (absolute(folder), absolute(base)) {
        (Ok(folder), Ok(base)) => folder.strip_prefix(&base).map(Path::to_owned).unwrap_or(folder),
        _ => folder.to_owned(),
    }
}

/// Hash of what a sweep asks for: its runs and its policies, in any order.
pub(crate) fn content(plan: &Plan) -> String {
    let mut parts: Vec<String> = plan.runs.iter().map(|run| run.fingerprint.0.clone()).collect();
    parts.sort_unstable();
    let mut policies: Vec<String> = plan.policies.iter().map(ToString::to_string).collect();
    policies.sort_unstable();
    parts.push(String::new());
    parts.append(&mut policies);
    blake3::hash(parts.join("\n").as_bytes()).to_hex()[..32].to_owned()
}

async fn upsert_sweep(tx: &mut SqliteConnection, plan: &Plan, file: &Path, text: &Recorded) -> Result<SweepId, sqlx::Error> {
    let content = content(plan);
    free_title(tx, &plan.name, &content).await?;
    sqlx::query_scalar(
        "INSERT INTO sweeps (name, title, content, turn, state, file, text, changes, points, created_at, begun_at, version, host)
         VALUES (?1, ?1, ?2, (SELECT coalesce(max(turn), 0) + 1 FROM sweeps), 'running', ?3, ?4, ?9, ?5, ?6, ?6, ?7, ?8)
         ON CONFLICT (name, content) DO UPDATE SET title = excluded.title, turn = excluded.turn, state = excluded.state,
             file = excluded.file, text = excluded.text, changes = excluded.changes, points = excluded.points,
             begun_at = excluded.begun_at, finished_at = NULL, version = excluded.version, host = excluded.host
         RETURNING id",
    )
    .bind(&plan.name)
    .bind(&content)
    .bind(file.to_string_lossy())
    .bind(&text.text)
    .bind(plan.points.len() as i64)
    .bind(now())
    .bind(env!("CARGO_PKG_VERSION"))
    .bind(host())
    .bind(text.changes.as_ref().map(json))
    .fetch_one(tx)
    .await
}

/// Another sweep with the title `name` is retitled `NAME#id`, or `NAME##id`, ... where that is taken.
async fn free_title(tx: &mut SqliteConnection, name: &str, content: &str) -> Result<(), sqlx::Error> {
    let holder: Option<(SweepId, String)> =
        sqlx::query_as("SELECT id, name FROM sweeps WHERE title = ?1 AND NOT (name = ?1 AND content = ?2)")
            .bind(name)
            .bind(content)
            .fetch_optional(&mut *tx)
            .await?;
    let Some((id, own)) = holder else { return Ok(()) };
    let mut title = format!("{own}#{id}");
    while title == name
        || sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sweeps WHERE title = ? AND id <> ?)")
            .bind(&title)
            .bind(id)
            .fetch_one(&mut *tx)
            .await?
    {
        title.insert(own.len(), '#');
    }
    sqlx::query("UPDATE sweeps SET title = ? WHERE id = ?").bind(&title).bind(id).execute(tx).await?;
    Ok(())
}

async fn upsert_data(tx: &mut SqliteConnection, facts: &DataFacts) -> Result<i64, sqlx::Error> {
    let facts = DataFacts { folder: PathBuf::new(), ..facts.clone() };
    // Equal facts are one data set, whichever version of the program has written them.
    let known: Vec<(i64, String)> = sqlx::query_as("SELECT id, facts FROM datasets WHERE content = ? ORDER BY id")
        .bind(&facts.content)
        .fetch_all(&mut *tx)
        .await?;
    if let Some((id, _)) = known.iter().find(|(_, text)| disk::facts_of(text).is_ok_and(|known| known == facts)) {
        return Ok(*id);
    }
    let id: i64 = sqlx::query_scalar("INSERT INTO datasets (content, facts) VALUES (?, ?) RETURNING id")
        .bind(&facts.content)
        .bind(disk::facts_text(&facts))
        .fetch_one(&mut *tx)
        .await?;
    for (position, name) in facts.labels.iter().enumerate() {
        sqlx::query("INSERT INTO labels (data, position, name) VALUES (?, ?, ?) ON CONFLICT (data, position) DO NOTHING")
            .bind(id)
            .bind(position as i64)
            .bind(name)
            .execute(&mut *tx)
            .await?;
    }
    Ok(id)
}

/// Most runs that are inserted in one statement.
const TOGETHER: usize = 500;

/// Adds the runs, with their positions in the sweep, unless the database has them, and links them to the sweep.
async fn insert_runs(
    tx: &mut SqliteConnection,
    runs: &[(usize, &PlannedRun)],
    data: &[(i64, String)],
    sweep: SweepId,
) -> Result<(), sqlx::Error> {
    let time = now();
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(
        "INSERT INTO runs (fingerprint, data, folder, arch, epochs, max_epochs, config, pos_weight, created_at, version, format) ",
    );
    query.push_values(runs, |mut to, (_, run)| {
        let (data, folder) = &data[run.data];
        let epochs = run.config.train.epochs as i64;
        to.push_bind(&run.fingerprint.0).push_bind(*data).push_bind(folder).push_bind(&run.config.model.arch);
        to.push_bind(epochs).push_bind(epochs).push_bind(disk::config_text(&run.config)).push_bind(json(&run.pos_weight));
        to.push_bind(time).push_bind(env!("CARGO_PKG_VERSION")).push_bind(plan::FORMAT);
    });
    query.push(" ON CONFLICT (fingerprint) DO UPDATE SET folder = excluded.folder WHERE folder <> excluded.folder");
    query.build().persistent(false).execute(&mut *tx).await?;
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(
        "INSERT INTO sweep_runs (sweep, run, position, bundle, loss, pos_weight, gamma, sampler, seed, params)
         SELECT ",
    );
    query
        .push_bind(sweep)
        .push(", r.id, n.column2, n.column3, n.column4, n.column5, n.column6, n.column7, n.column8, n.column9 FROM (");
    query.push_values(runs, |mut to, (position, run)| {
        let name = &run.name;
        to.push_bind(&run.fingerprint.0).push_bind(*position as i64).push_bind(run.bundle as i64);
        to.push_bind(&name.loss).push_bind(&name.pos_weight).push_bind(name.gamma).push_bind(&name.sampler);
        to.push_bind(name.seed as i64).push_bind(json(&name.params));
    });
    query.push(") n CROSS JOIN runs r ON r.fingerprint = n.column1");
    query.build().persistent(false).execute(&mut *tx).await?;
    Ok(())
}

async fn policies(connection: &mut SqliteConnection, sweep: SweepId) -> Result<Vec<(i64, Policy)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT p.id, p.json FROM sweep_policies s JOIN policies p ON p.id = s.policy WHERE s.sweep = ? ORDER BY s.position",
    )
    .bind(sweep)
    .fetch_all(&mut *connection)
    .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, disk::policy(row, 1)?))).collect()
}

async fn missing(
    connection: &mut SqliteConnection,
    sweep: SweepId,
    failed: bool,
    base: &Path,
) -> Result<Vec<Missing>, sqlx::Error> {
    let policies: Vec<Policy> = policies(connection, sweep).await?.into_iter().map(|(_, policy)| policy).collect();
    let rows = sqlx::query(
        "SELECT r.fingerprint, r.config, r.pos_weight, r.folder, w.bundle, r.state = 'failed',
                coalesce((SELECT max(attempt) FROM attempts a WHERE a.run = r.id), 0) + 1,
                (SELECT count(*) FROM attempts a WHERE a.run = r.id AND a.outcome NOT IN ('ok', 'stopped', 'lost', 'io')
                 AND a.attempt > coalesce((SELECT winner FROM runs o WHERE o.id = r.replaces), 0)),
                r.id, r.replaces IS NOT NULL, r.format
         FROM sweep_runs w JOIN runs r ON r.id = coalesce(w.again, w.run)
         WHERE w.sweep = ?1 AND (r.state IN ('queued', 'running') OR (?2 AND r.state = 'failed'))
           AND NOT w.left_out AND NOT EXISTS (SELECT 1 FROM search_decisions d WHERE d.run = r.id AND d.sweep = ?1 AND NOT d.goes_on)
           AND NOT EXISTS (SELECT 1 FROM slice_runs c JOIN slices s USING (submission, slice) WHERE c.run = r.id AND NOT s.over)
         ORDER BY w.position",
    )
    .bind(sweep)
    .bind(failed)
    .fetch_all(&mut *connection)
    .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let again: bool = row.try_get(5)?;
        let mut job = Job {
            v: VERSION,
            run: Fingerprint(row.try_get(0)?),
            attempt: row.try_get(6)?,
            config: disk::config(row, 1)?,
            pos_weight: crate::reader::parse(row, 2)?,
            data: base.join(row.try_get::<String, _>(3)?),
            folder: PathBuf::new(),
            policies: policies.clone(),
        };
        if row.try_get(9)? {
            let others = policies_of_replaced(connection, row.try_get(8)?).await?;
            job.policies.extend(others.into_iter().filter(|policy| !policies.contains(policy)));
        }
        let failures = if again { 0 } else { row.try_get(7)? };
        found.push(Missing { job, failures, bundle: row.try_get::<i64, _>(4)? as usize, format: row.try_get(10)? });
    }
    Ok(found)
}

async fn unevaluated(connection: &mut SqliteConnection, sweep: SweepId) -> Result<Vec<(Fingerprint, Vec<Policy>)>, sqlx::Error> {
    let policies = policies(connection, sweep).await?;
    // val rows of every epoch, and test rows of the best and the last one (imported scores may have no test)
    let rows = sqlx::query(
        "SELECT r.fingerprint, p.policy
         FROM sweep_runs w JOIN runs r ON r.id = w.run JOIN datasets d ON d.id = r.data JOIN sweep_policies p ON p.sweep = w.sweep
         WHERE w.sweep = ? AND r.state = 'succeeded'
           AND (SELECT count(*) FROM evaluations e WHERE e.run = r.id AND e.policy = p.policy
                AND (e.split = 'val' OR (e.split = 'test' AND e.epoch IN (r.best_epoch, r.epochs - 1))))
             < r.epochs + CASE WHEN d.facts ->> '$.test.rows' = 0 THEN 0 WHEN r.best_epoch = r.epochs - 1 THEN 1 ELSE 2 END
         ORDER BY w.position, p.position",
    )
    .bind(sweep)
    .fetch_all(connection)
    .await?;
    let mut found: Vec<(Fingerprint, Vec<Policy>)> = Vec::new();
    for row in &rows {
        let (run, id): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
        let Some((_, policy)) = policies.iter().find(|(policy, _)| *policy == id) else { continue };
        match found.last_mut() {
            Some((last, list)) if last.0 == run => list.push(policy.clone()),
            _ => found.push((Fingerprint(run), vec![policy.clone()])),
        }
    }
    Ok(found)
}
