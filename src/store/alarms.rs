//! Table `alarm`: since when a cause is wrong, who was told, and when it went.
//!
//! Invariant: a cause has at most one row that is open, and it is the latest of its rows.

use super::{Snapshot, StoreError, Tx};
use crate::domain::alarm::{Alarm, Severity, Standing};
use crate::domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, named_params};

/// What is said of a cause.
#[derive(Debug, Clone)]
pub struct AlarmFacts {
    /// The same for the same cause.
    pub cause: String,
    /// What kind of trouble.
    pub kind: String,
    /// The code concerned.
    pub code: Option<String>,
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub what_to_do: String,
}

impl From<&Alarm> for AlarmFacts {
    fn from(alarm: &Alarm) -> Self {
        Self {
            cause: alarm.id.clone(),
            kind: alarm.kind.to_owned(),
            code: alarm.code.clone(),
            text: alarm.text.clone(),
            what_to_do: alarm.what_to_do.to_owned(),
        }
    }
}

/// One time that a cause was wrong.
#[derive(Debug, Clone)]
pub struct AlarmRow {
    /// Counts up.
    pub id: i64,
    /// What it was, when last seen.
    pub facts: AlarmFacts,
    /// What the rule remembers.
    pub standing: Standing,
    /// When it was last found.
    pub last_seen: Timestamp,
    /// How many looks found it.
    pub seen: i64,
    /// How often it came back before it could be told of again.
    pub reopened: i64,
    /// When somebody said that they look after it, and why.
    pub acknowledged: Option<(Timestamp, String)>,
}

impl Tx<'_> {
    /// Every cause that was wrong at the last look.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn open_alarms(&self) -> Result<Vec<AlarmRow>, StoreError> {
        open(self.connection)
    }

    /// The last time that this cause was wrong, which may last.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn last_alarm(&self, cause: &str) -> Result<Option<AlarmRow>, StoreError> {
        let found = self
            .connection
            .prepare_cached("SELECT * FROM alarm WHERE cause = ?1 ORDER BY id DESC LIMIT 1")?
            .query_row([cause], |row| Ok(from_row(row)))
            .optional()?;
        found.transpose()
    }

    /// Stores a cause that has become wrong. Returns its number.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn insert_alarm(
        &mut self,
        facts: &AlarmFacts,
        standing: &Standing,
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO alarm VALUES (NULL, :cause, :kind, :severity, :code, :text, :what, \
                 :since, :now, 1, 0, :told_at, :told_severity, NULL, NULL, NULL, NULL)",
            )?
            .execute(named_params! {
                ":cause": facts.cause,
                ":kind": facts.kind,
                ":severity": standing.severity.as_str(),
                ":code": facts.code,
                ":text": facts.text,
                ":what": facts.what_to_do,
                ":since": standing.since.as_ms(),
                ":now": now.as_ms(),
                ":told_at": standing.told.map(|(at, _)| at.as_ms()),
                ":told_severity": standing.told.map(|(_, severity)| severity.as_str()),
            })?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Stores what the rule made of a row; `found` is the cause as it is now, if it is wrong.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn save_alarm(
        &mut self,
        id: i64,
        standing: &Standing,
        found: Option<&AlarmFacts>,
        reopened: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE alarm SET since = :since, severity = :severity, told_at = :told_at, \
                 told_severity = :told_severity, cleared_at = :cleared_at, over_at = :over_at, \
                 reopened = reopened + :reopened, \
                 acknowledged_at = iif(:acknowledged, acknowledged_at, NULL), \
                 acknowledged = iif(:acknowledged, acknowledged, NULL) WHERE id = :id",
            )?
            .execute(named_params! {
                ":id": id,
                ":since": standing.since.as_ms(),
                ":severity": standing.severity.as_str(),
                ":told_at": standing.told.map(|(at, _)| at.as_ms()),
                ":told_severity": standing.told.map(|(_, severity)| severity.as_str()),
                ":cleared_at": standing.cleared_at.map(Timestamp::as_ms),
                ":over_at": standing.over_at.map(Timestamp::as_ms),
                ":reopened": reopened,
                ":acknowledged": standing.acknowledged,
            })?;
        if let Some(facts) = found {
            self.connection
                .prepare_cached(
                    "UPDATE alarm SET kind = ?2, code = ?3, text = ?4, what_to_do = ?5, \
                     last_seen = ?6, seen = seen + 1 WHERE id = ?1",
                )?
                .execute((
                    id,
                    &facts.kind,
                    &facts.code,
                    &facts.text,
                    &facts.what_to_do,
                    now.as_ms(),
                ))?;
        }
        Ok(())
    }

    /// Somebody looks after an open alarm. Returns whether there is one.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn acknowledge_alarm(
        &mut self,
        cause: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let changed = self
            .connection
            .prepare_cached(
                "UPDATE alarm SET acknowledged_at = ?2, acknowledged = ?3 \
                 WHERE cause = ?1 AND cleared_at IS NULL",
            )?
            .execute((cause, now.as_ms(), reason))?;
        Ok(changed == 1)
    }

    /// Forgets alarms that went before `before`, and messages that ended before it.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn prune_alarms(&mut self, before: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let notices = self
            .connection
            .prepare_cached(
                "DELETE FROM notice WHERE id IN (SELECT id FROM notice \
                 WHERE due_at IS NULL AND first_due < ?1 ORDER BY id LIMIT ?2)",
            )?
            .execute((before.as_ms(), limit))?;
        let alarms = self
            .connection
            .prepare_cached(
                "DELETE FROM alarm WHERE id IN \
                 (SELECT id FROM alarm WHERE cleared_at < ?1 ORDER BY cleared_at LIMIT ?2)",
            )?
            .execute((before.as_ms(), limit))?;
        Ok(notices + alarms)
    }
}

impl Snapshot<'_> {
    /// Every cause that was wrong at the last look.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn open_alarms(&self) -> Result<Vec<AlarmRow>, StoreError> {
        open(self.connection)
    }

    /// Alarms that went, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn cleared_alarms(
        &self,
        below: Option<i64>,
        limit: usize,
    ) -> Result<Vec<AlarmRow>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT * FROM alarm WHERE cleared_at IS NOT NULL AND id < ?1 ORDER BY id DESC LIMIT ?2",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        statement.query_and_then((below.unwrap_or(i64::MAX), limit), from_row)?.collect()
    }
}

fn open(connection: &Connection) -> Result<Vec<AlarmRow>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT * FROM alarm WHERE cleared_at IS NULL ORDER BY id")?;
    statement.query_and_then([], from_row)?.collect()
}

fn from_row(row: &Row<'_>) -> Result<AlarmRow, StoreError> {
    let id: i64 = row.get("id")?;
    let severity = |word: &str| {
        Severity::parse(word).ok_or_else(|| StoreError::Damaged(format!("alarm {id}")))
    };
    let at = |column| -> rusqlite::Result<Option<Timestamp>> {
        Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_ms))
    };
    let told_severity: Option<String> = row.get("told_severity")?;
    let told_severity = told_severity.map(|word| severity(&word)).transpose()?;
    let reason: Option<String> = row.get("acknowledged")?;
    let acknowledged = at("acknowledged_at")?.zip(reason);
    Ok(AlarmRow {
        id,
        facts: facts_of(row)?,
        standing: Standing {
            since: Timestamp::from_ms(row.get("since")?),
            severity: severity(&row.get::<_, String>("severity")?)?,
            told: at("told_at")?.zip(told_severity),
            cleared_at: at("cleared_at")?,
            over_at: at("over_at")?,
            acknowledged: acknowledged.is_some(),
        },
        last_seen: Timestamp::from_ms(row.get("last_seen")?),
        seen: row.get("seen")?,
        reopened: row.get("reopened")?,
        acknowledged,
    })
}

/// Both tables of alarms name these columns alike.
pub(super) fn facts_of(row: &Row<'_>) -> rusqlite::Result<AlarmFacts> {
    Ok(AlarmFacts {
        cause: row.get("cause")?,
        kind: row.get("kind")?,
        code: row.get("code")?,
        text: row.get("text")?,
        what_to_do: row.get("what_to_do")?,
    })
}
