//! Opening: checks that the file is a database of this program, of this version, and usable.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::Connection;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};

use super::StoreError;
use super::lock::Lock;

/// "SWEP"; also in the first migration.
const APPLICATION_ID: i64 = 0x5357_4550;

/// The schema, one file per migration.
static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// `user_version` of a database that has every migration.
pub(super) fn version() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// Opens for the one writer, whose caller holds the lock. Creates and migrates.
///
/// A commit reaches the write-ahead log, in the kernel's hands, before it is acknowledged: kill -9 loses nothing. Only a checkpoint
/// waits for the disk (`synchronous = NORMAL`): after a power loss the database is intact but may be some commits behind, and the
/// journals, removed only after [`super::Writer::checkpoint`], bring it up to date.
///
/// On a network file system there is no write-ahead log, which works among the processes of one machine only: commits go into the file
/// itself, each waits for the disk, and readers wait for the writer.
pub(super) async fn for_writing(path: &Path) -> Result<SqliteConnection, StoreError> {
    check_file(path)?;
    if path.exists() {
        std::fs::OpenOptions::new().read(true).write(true).open(path).map_err(|error| {
            StoreError::unusable(path, format!("cannot be written ({error}); make it writable, or use another --db"))
        })?;
    }
    let fail = |source| StoreError::from_sqlite(path, source);
    // WAL is switched on only once the file is known to be ours.
    let mut connection = SqliteConnection::connect_with(&options(path).create_if_missing(true)).await.map_err(fail)?;
    check_owner(&mut connection, path, true).await?;
    connection.close().await.map_err(fail)?;
    // The log's index is shared memory, which machines do not share.
    let (journal, synchronous) = match is_on_network(path) {
        true => (SqliteJournalMode::Truncate, SqliteSynchronous::Full),
        false => (SqliteJournalMode::Wal, SqliteSynchronous::Normal),
    };
    let options = options(path).create_if_missing(true).journal_mode(journal).synchronous(synchronous);
    // Its pages are read from the system's cache just as well, and a controller does not grow with its database.
    let options = options.pragma("cache_size", "-16384");
    let mut connection = SqliteConnection::connect_with(&options).await.map_err(fail)?;
    MIGRATIONS.run(&mut connection).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::Execute(source) => fail(source),
        sqlx::migrate::MigrateError::ExecuteMigration(source, _) => fail(source),
        other => StoreError::unusable(path, format!("its schema cannot be brought up to date: {other}")),
    })?;
    Ok(connection)
}

/// Sets how long SQLite waits for other programs before it says that the database is locked.
pub(super) async fn wait_for_at_most(connection: &mut SqliteConnection, path: &Path, time: Duration) -> Result<(), StoreError> {
    let pragma = format!("PRAGMA busy_timeout = {}", time.as_millis());
    let set = sqlx::query(sqlx::AssertSqlSafe(pragma)).execute(connection).await;
    set.map(drop).map_err(|source| StoreError::from_sqlite(path, source))
}

/// Which file is at `path`; `None` where there is none. A file that is open keeps its number for itself.
pub(super) fn inode(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|file| file.ino())
}

/// What a database file looks like from outside.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// The stamp of a file without a writer: there is no write-ahead log beside it, and no journal of one on a network file system.
    fn take(path: &Path) -> Option<Self> {
        Self::of_file(path).filter(|_| !beside(path, "-wal").exists() && !beside(path, "-journal").exists())
    }

    fn of_file(path: &Path) -> Option<Self> {
        let file = std::fs::metadata(path).ok()?;
        Some(Self { inode: file.ino(), bytes: file.len(), modified: (file.mtime(), file.mtime_nsec()) })
    }

    /// Whether the file itself is unchanged, whatever lies beside it.
    pub fn is_of(&self, path: &Path) -> bool {
        Self::of_file(path).as_ref() == Some(self)
    }

    /// Whether nobody has written since. A log without a frame says nothing: a reader of another process makes one, if it had been opened
    /// while there was a writer.
    pub fn holds(&self, path: &Path) -> bool {
        let log = std::fs::metadata(beside(path, "-wal")).map_or(0, |log| log.len());
        self.is_of(path) && log == 0 && !beside(path, "-journal").exists()
    }
}

/// SQLite's files beside a database. The write-ahead log exists while there is a writer and after one was killed; a journal that is truncated,
/// not removed, stays for good, and readers use SQLite's locks.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// File systems that several machines share, by their numbers in statfs(2): NFS, SMB and CIFS, Lustre, GPFS, BeeGFS, Ceph, AFS, Panasas,
/// OrangeFS, and whatever FUSE brings.
const NETWORK: [u64; 11] = [
    0x6969,
    0xfe53_4d42,
    0xff53_4d42,
    0x0bd0_0bd0,
    0x4750_4653,
    0x1983_0326,
    0x00c3_6400,
    0x5346_414f,
    0xaad7_aaea,
    0x2003_0528,
    0x6573_5546,
];

fn is_on_network(path: &Path) -> bool {
    let kind = rustix::fs::statfs(archive::file::folder_of(path)).map(|facts| facts.f_type as u64 & 0xffff_ffff);
    // Tests have no such file system.
    let pretended = cfg!(test) && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("network"));
    pretended || kind.is_ok_and(|kind| NETWORK.contains(&kind))
}

/// Read-only: creates no file, blocks nobody. A database of an older schema is brought up to date first, for which it is locked and
/// written once.
///
/// Without a write-ahead log there is no writer. SQLite must then be told that the file is immutable, or it would create a log for
/// reading; it takes no locks then, so its answers are valid only as long as the stamp holds.
pub(super) async fn for_reader(path: &Path) -> Result<(SqliteConnection, Option<Stamp>), StoreError> {
    if !path.exists() {
        return Err(StoreError::unusable(
            path,
            "no such database; `sweep run FILE` makes one, --db (or SWEEP_DB) names one elsewhere",
        ));
    }
    check_file(path)?;
    let (mut connection, still) = connect_for_reading(path).await?;
    let found = check_owner(&mut connection, path, false).await?;
    if found == version() {
        return Ok((connection, still));
    }
    let fail = |source| StoreError::from_sqlite(path, source);
    connection.close().await.map_err(fail)?;
    let migrated = async {
        let lock = Lock::take(path)?;
        for_writing(path).await?.close().await.map_err(fail)?;
        drop(lock);
        Ok(())
    };
    migrated.await.map_err(|error: StoreError| match error {
        StoreError::Unusable { path, message } => {
            let needs = format!("was written by an older sweep (schema {found}, this one needs {})", version());
            StoreError::Unusable { path, message: format!("{needs} and cannot be brought up to date: {message}") }
        }
        other => other,
    })?;
    tracing::info!("{}: brought up to date, from schema {found} to {}", path.display(), version());
    connect_for_reading(path).await
}

async fn connect_for_reading(path: &Path) -> Result<(SqliteConnection, Option<Stamp>), StoreError> {
    let still = Stamp::take(path);
    let options = options(path).read_only(true).immutable(still.is_some());
    let connection = SqliteConnection::connect_with(&options).await.map_err(|source| StoreError::from_sqlite(path, source))?;
    Ok((connection, still))
}

/// The connection alone.
#[cfg(test)]
pub(super) async fn for_reading(path: &Path) -> Result<SqliteConnection, StoreError> {
    for_reader(path).await.map(|(connection, _)| connection)
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(10))
        // SQLite's thread hands rows over one by one; with sqlx's 50 the two threads mostly wait for each other.
        .row_buffer_size(4096)
        // Temporary tables stay in memory: the disk may be full.
        .pragma("temp_store", "memory")
        .pragma("cache_size", "-65536")
}

/// Faults that can be seen without SQLite, which would call most of them "unable to open database file".
pub(super) fn check_file(path: &Path) -> Result<(), StoreError> {
    let unusable = |message: String| Err(StoreError::unusable(path, message));
    if path.to_str().is_none() {
        return unusable("SQLite needs a path in UTF-8".to_owned());
    }
    if path.is_dir() {
        return Err(StoreError::foreign(path, "is a folder; --db names a file"));
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        return unusable(format!("there is no folder {}; make it first", folder.display()));
    }
    if !path.exists() {
        return Ok(());
    }
    let mut header = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| {
        use std::io::Read;
        file.take(16).read_to_end(&mut header)
    });
    match read {
        Err(error) => unusable(format!("cannot be read: {error}")),
        // SQLite treats an empty file as a new one.
        Ok(0) => Ok(()),
        Ok(_) if header == *b"SQLite format 3\0" => Ok(()),
        Ok(_) => Err(StoreError::foreign(path, "is not a SQLite database; use another --db")),
    }
}

/// Refuses another program's database and one from a newer `sweep`; returns its schema's version.
async fn check_owner(connection: &mut SqliteConnection, path: &Path, may_be_empty: bool) -> Result<i64, StoreError> {
    let fail = |source| StoreError::from_sqlite(path, source);
    let application: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await.map_err(fail)?;
    let found: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await.map_err(fail)?;
    // A first start that was killed may have left the migrations' own table, and nothing else.
    let tables: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' AND tbl_name <> '_sqlx_migrations'",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(fail)?;
    let known = version();
    if application == 0 && tables == 0 {
        return if may_be_empty {
            Ok(found)
        } else {
            Err(StoreError::unusable(path, "is empty: nothing is recorded yet; `sweep run FILE` fills it"))
        };
    }
    if application != APPLICATION_ID {
        return Err(StoreError::foreign(path, "is the database of another program; use another --db"));
    }
    if found > known {
        return Err(StoreError::foreign(
            path,
            format!("was written by a newer sweep (schema {found}, this one knows {known}); update sweep, or use another --db"),
        ));
    }
    check_names(connection, path).await?;
    Ok(found)
}

/// Refuses a database in which a run's name is a path: folders are called after runs, and those of other people are not ours to remove.
async fn check_names(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    let fail = |source| StoreError::from_sqlite(path, source);
    let runs: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'runs'")
        .fetch_one(&mut *connection)
        .await
        .map_err(fail)?;
    if runs == 0 {
        return Ok(());
    }
    // `Fingerprint::is_name`.
    let odd: Option<String> = sqlx::query_scalar(
        "SELECT CAST(fingerprint AS TEXT) FROM runs
         WHERE typeof(fingerprint) <> 'text' OR fingerprint = '' OR fingerprint GLOB '*[^0-9A-Za-z-]*' OR instr(fingerprint, char(0)) LIMIT 1",
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(fail)?;
    match odd {
        None => Ok(()),
        Some(name) => Err(StoreError::foreign(
            path,
            format!("has a run called `{}`, which no sweep has written; use another --db", imbalance::shown::shown(&name)),
        )),
    }
}
