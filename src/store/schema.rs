//! Opening the file: the lock, the settings durability needs, and the steps from schema to schema.
//!
//! Invariant: an existing file is never replaced, and a newer one never touched.

use super::OpenError;
use super::backup::back_up;
use super::relink::relink;
use super::statistics::forget_small_tables;
use rusqlite::{Connection, OpenFlags};
use std::fs::{File, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// The database's name in the data folder.
pub(super) const FILE: &str = "authcoded.db";
/// The file whose lock a daemon holds.
pub(super) const LOCK: &str = "lock";

/// "auth" in ASCII: marks the file as ours.
const APPLICATION_ID: i64 = 0x6175_7468;
/// The first SQLite without the WAL-reset bug.
const SQLITE_NEEDED: i32 = 3_051_003;
/// How long a connection waits for a lock another one of ours holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the folder's lock is tried for: a process that ends, or a child of it that has not begun its
/// own program yet, holds it a moment longer.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_LOOK_EVERY: Duration = Duration::from_millis(10);

/// The schema this program knows, as a fresh file gets it.
const SCHEMA: &str = include_str!("../../schema.sql");
/// Its number.
const KNOWN: i64 = 8;
/// What brings an older file up to date: the first one turns schema 1 into 2, and so on.
const STEPS: [Step; 7] = [
    Step::sql(include_str!("steps/usage.sql")),
    Step::sql(include_str!("steps/order_notice.sql")),
    Step::sql(include_str!("steps/dial_test.sql")),
    Step::sql(include_str!("steps/retry_window.sql")),
    Step::sql(include_str!("steps/signature_doctor.sql")),
    Step::sql(include_str!("steps/alarm.sql")),
    Step { sql: include_str!("steps/chain.sql"), then: relink },
];
/// The first one with chains over events and callbacks, by digests.
pub(super) const WITH_CHAINS: i64 = 8;

/// A step from one schema to the next: SQL, and then what SQL cannot say.
#[derive(Clone, Copy)]
struct Step {
    sql: &'static str,
    then: fn(&Connection) -> rusqlite::Result<()>,
}

impl Step {
    const fn sql(sql: &'static str) -> Self {
        Self { sql, then: |_| Ok(()) }
    }
}

/// Takes the folder, making it (0700) if need be.
pub(super) fn lock(folder: &Path) -> Result<File, OpenError> {
    let fail = |source| OpenError::Folder { folder: folder.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fail)?;
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join(LOCK))
        .map_err(fail)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_LOOK_EVERY);
            }
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked(folder.to_owned())),
            Err(TryLockError::Error(source)) => return Err(fail(source)),
        }
    }
}

/// Whether a daemon is at work on the folder. A folder that is not there is held by nobody.
#[must_use]
pub fn is_held(folder: &Path) -> bool {
    let lock = File::options().write(true).open(folder.join(LOCK));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Opens the file for the writer, brings its schema up to date and checks it.
pub(super) fn open_for_writing(file: &Path) -> Result<Connection, OpenError> {
    if rusqlite::version_number() < SQLITE_NEEDED {
        return Err(OpenError::SqliteTooOld(rusqlite::version()));
    }
    let fresh = !file.exists();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | if fresh { OpenFlags::SQLITE_OPEN_CREATE } else { OpenFlags::empty() };
    let fail = |source| sqlite(file, source);
    let mut connection = Connection::open_with_flags(file, flags).map_err(fail)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(fail)?;
    if fresh || is_empty(file, &connection)? {
        // Empty: either new, or a start was killed before its first commit.
        connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(fail)?;
    } else {
        let version = identify(file, &connection)?;
        copy_before_steps(file, version)?;
    }
    for (pragma, value) in [
        ("journal_mode", "wal"),
        ("synchronous", "full"),
        ("foreign_keys", "on"),
        ("trusted_schema", "off"),
        ("wal_autocheckpoint", "0"),
        ("cache_size", "-8192"),
    ] {
        connection.pragma_update(None, pragma, value).map_err(fail)?;
    }
    read_back(file, &connection, "journal_mode", "wal")?;
    read_back(file, &connection, "synchronous", "2")?;
    // With the sorting of a step in files: the memory that the unit allows is small.
    migrate(file, &mut connection)?;
    connection.pragma_update(None, "temp_store", "memory").map_err(fail)?;
    quick_check(file, &connection)?;
    forget_small_tables(&connection).map_err(fail)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

/// Opens the file for a reader.
pub(super) fn open_for_reading(file: &Path) -> Result<Connection, OpenError> {
    let fail = |source| sqlite(file, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(fail)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(fail)?;
    connection.pragma_update(None, "cache_size", "-2048").map_err(fail)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// Opens the file beside whoever writes it, if it is of this version.
pub(super) fn open_beside(file: &Path) -> Result<Connection, OpenError> {
    let connection = open_for_reading(file)?;
    let found = identify(file, &connection)?;
    if found < KNOWN {
        return Err(OpenError::Older { file: file.to_owned(), found, known: KNOWN });
    }
    Ok(connection)
}

fn is_empty(file: &Path, connection: &Connection) -> Result<bool, OpenError> {
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|source| sqlite(file, source))?;
    let application: i64 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(|source| sqlite(file, source))?;
    let unowned = application == 0 || application == APPLICATION_ID;
    Ok(tables == 0 && unowned && user_version(file, connection)? == 0)
}

/// The number of its schema, if the file is ours and not newer than we are.
pub(super) fn identify(file: &Path, connection: &Connection) -> Result<i64, OpenError> {
    let application: i64 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(|source| sqlite(file, source))?;
    let version = user_version(file, connection)?;
    if application != APPLICATION_ID || version == 0 {
        return Err(OpenError::Foreign(file.to_owned()));
    }
    if version > KNOWN {
        return Err(OpenError::Newer { file: file.to_owned(), found: version, known: KNOWN });
    }
    Ok(version)
}

/// Keeps the file as it was before its schema changes: an older program can go on with the copy.
fn copy_before_steps(file: &Path, version: i64) -> Result<(), OpenError> {
    if version == KNOWN {
        return Ok(());
    }
    let copy = file.with_file_name(format!("{FILE}.before-v{}", version + 1));
    let made = back_up(file, &copy, true).map_err(|error| OpenError::NoCopy(Box::new(error)))?;
    tracing::info!(
        copy = %copy.display(),
        bytes = made.bytes,
        from = version,
        to = KNOWN,
        "the database is brought to a newer schema; as it was before, it is kept in the copy"
    );
    if let Some((chain, row)) = made.broken {
        tracing::error!(
            copy = %copy.display(),
            chain = chain.as_str(),
            row,
            "a chain did not hold before the schema changed: from this row on it proves nothing, and it is linked anew; keep the copy, and compare it with your backups"
        );
    }
    Ok(())
}

/// Each step is a transaction, so that a start that is killed goes on where it stopped.
fn migrate(file: &Path, connection: &mut Connection) -> Result<(), OpenError> {
    let fail = |source| sqlite(file, source);
    let version = user_version(file, connection)?;
    let fresh = (KNOWN, Step::sql(SCHEMA));
    let steps = if version == 0 { vec![fresh] } else { (2..).zip(STEPS).collect() };
    for (next, step) in steps.into_iter().filter(|(next, _)| *next > version) {
        let transaction = connection.transaction().map_err(fail)?;
        transaction.execute_batch(step.sql).map_err(fail)?;
        (step.then)(&transaction).map_err(fail)?;
        transaction.pragma_update(None, "user_version", next).map_err(fail)?;
        transaction.commit().map_err(fail)?;
    }
    Ok(())
}

fn user_version(file: &Path, connection: &Connection) -> Result<i64, OpenError> {
    connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|source| sqlite(file, source))
}

fn read_back(
    file: &Path,
    connection: &Connection,
    pragma: &'static str,
    wanted: &'static str,
) -> Result<(), OpenError> {
    let found: rusqlite::types::Value = connection
        .pragma_query_value(None, pragma, |row| row.get(0))
        .map_err(|source| sqlite(file, source))?;
    let found = match found {
        rusqlite::types::Value::Integer(n) => n.to_string(),
        rusqlite::types::Value::Text(text) => text,
        other => format!("{other:?}"),
    };
    if found == wanted {
        Ok(())
    } else {
        Err(OpenError::Pragma { file: file.to_owned(), pragma, found, wanted })
    }
}

/// Checks the licences' table, but not the `CHECK`s of its rows: they would take ten times as long as all
/// the rest, and a row is judged again whenever it is read. The nightly upkeep checks everything.
fn quick_check(file: &Path, connection: &Connection) -> Result<(), OpenError> {
    let fail = |source| sqlite(file, source);
    connection.pragma_update(None, "ignore_check_constraints", "on").map_err(fail)?;
    let found: String = connection
        .query_row("PRAGMA quick_check('license')", [], |row| row.get(0))
        .map_err(fail)?;
    connection.pragma_update(None, "ignore_check_constraints", "off").map_err(fail)?;
    if found == "ok" {
        Ok(())
    } else {
        Err(OpenError::Damaged { file: file.to_owned(), what: found })
    }
}

pub(super) fn sqlite(file: &Path, source: rusqlite::Error) -> OpenError {
    match source.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
            OpenError::Damaged { file: file.to_owned(), what: source.to_string() }
        }
        _ => OpenError::Sqlite { file: file.to_owned(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Chain, ChainReport, Snapshot};

    /// The schema that each earlier version made, the oldest first.
    const EARLIER: [&str; 7] = [
        include_str!("../../tests/schemas/1.sql"),
        include_str!("../../tests/schemas/2.sql"),
        include_str!("../../tests/schemas/3.sql"),
        include_str!("../../tests/schemas/4.sql"),
        include_str!("../../tests/schemas/5.sql"),
        include_str!("../../tests/schemas/6.sql"),
        include_str!("../../tests/schemas/7.sql"),
    ];

    /// Every table and index: its name and its columns, without comments and spacing.
    fn shape(connection: &Connection) -> Vec<(String, String)> {
        let mut statement = connection
            .prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
            .expect("a statement");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
        let plain = |sql: String| {
            let lines = sql.lines().map(|line| line.split("--").next().unwrap_or_default());
            lines.collect::<String>().replace(|c: char| c.is_whitespace() || c == '"', "")
        };
        rows.map(|row| row.map(|(name, sql): (String, String)| (name, plain(sql))))
            .collect::<Result<_, _>>()
            .expect("rows")
    }

    #[test]
    fn every_earlier_schema_is_brought_to_the_one_a_fresh_file_gets() {
        assert_eq!(i64::try_from(STEPS.len()), Ok(KNOWN - 1));
        let file = Path::new("in memory");
        let mut fresh = Connection::open_in_memory().expect("a database");
        migrate(file, &mut fresh).expect("made");
        assert_eq!(user_version(file, &fresh).expect("a number"), KNOWN);
        for (version, schema) in (1i64..).zip(EARLIER) {
            let mut old = Connection::open_in_memory().expect("a database");
            old.execute_batch(schema).expect("made");
            old.pragma_update(None, "user_version", version).expect("set");
            old.execute_batch(
                "INSERT INTO license (code, state, marketplace_status, renewals_in_force, \
                 registered_at, buyer_waits) VALUES ('PL1', 'issued', 'unknown', 0, 1, 0)",
            )
            .expect("stored");
            old.execute_batch(
                "INSERT INTO event VALUES (1, 5, 'PL1', 'registered', 'operator', NULL, 'issued', \
                 NULL, NULL, 'one', zeroblob(32)), \
                 (2, 6, NULL, 'job', 'timer', NULL, NULL, NULL, NULL, 'two', zeroblob(32)); \
                 INSERT INTO callback (id, received_at, activity, code, test, signed_at, verdict, \
                 result_code, detail, duration_ms, settled_at, body) VALUES \
                 (1, 5, 'a', 'PL1', 0, 5, 'applied', '000000', '', 0, NULL, x'00'), \
                 (2, 5, 'a', 'PL1', 1, 5, 'test', '000000', '', 0, NULL, x'00'), \
                 (3, 5, 'a', NULL, 0, NULL, 'refused', '000001', '', 0, NULL, x'00')",
            )
            .expect("stored");
            migrate(file, &mut old).expect("brought up to date");
            for (chain, rows) in Chain::ALL.into_iter().zip([2, 2, 1]) {
                let report = Snapshot { connection: &old }.verify_chain(chain).expect("a walk");
                assert_eq!(report, ChainReport { rows, broken_at: None }, "{chain:?}");
            }
            assert_eq!(user_version(file, &old).expect("a number"), KNOWN);
            assert_eq!(shape(&old), shape(&fresh), "from schema {version}");
            let kept: i64 = old
                .query_row("SELECT count(*) FROM license WHERE code = 'PL1'", [], |row| row.get(0))
                .expect("a count");
            assert_eq!(kept, 1);
        }
    }

    #[test]
    fn the_check_at_start_finds_a_damaged_page_and_leaves_the_constraints_in_force() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(FILE);
        let connection = open_for_writing(&file).expect("opened");
        let insert = |code: usize, state: &str| {
            connection.execute(
                "INSERT INTO license (code, state, marketplace_status, renewals_in_force, \
                 registered_at, buyer_waits) VALUES (?1, ?2, 'unknown', 0, 1, 0)",
                (format!("PL{code}"), state),
            )
        };
        for code in 0..2_000 {
            insert(code, "issued").expect("stored");
        }
        assert!(insert(2_000, "nonsense").is_err());
        let root: u32 = connection
            .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'license'", [], |row| {
                row.get(0)
            })
            .expect("a page");
        drop(connection);
        open_for_writing(&file).expect("opened again");
        let mut bytes = std::fs::read(&file).expect("read");
        // The number of cells in the page's head.
        bytes[(root as usize - 1) * 4_096 + 3] = 0xff;
        std::fs::write(&file, bytes).expect("written");
        assert!(matches!(open_for_writing(&file), Err(OpenError::Damaged { .. })));
    }
}
