//! Table `notice`: messages about alarms on their way to people, one row for each message and channel.
//!
//! Invariant: a row is written with the change it tells of, and stays until its channel has taken it or it
//! is given up. A crash between the sending and its record sends it again, under the same id.

use super::alarms::{AlarmFacts, facts_of};
use super::{Snapshot, StoreError, Tx};
use crate::domain::alarm::{Phase, Severity};
use crate::domain::time::Timestamp;
use rusqlite::{OptionalExtension as _, Row, named_params};

/// A message for one channel.
#[derive(Debug, Clone)]
pub struct Notice {
    /// Counts up; 0 before it is stored.
    pub id: i64,
    /// The message's own id: the same on every channel and at every try.
    pub message: String,
    /// The channel's name.
    pub channel: String,
    /// The number of the alarm it tells of.
    pub alarm: i64,
    /// What it says of it.
    pub phase: Phase,
    /// When that became true.
    pub told_at: Timestamp,
    /// The alarm as it was then.
    pub facts: AlarmFacts,
    /// How much of a hurry there is.
    pub severity: Severity,
    /// Since when.
    pub since: Timestamp,
    /// Not to be sent before.
    pub first_due: Timestamp,
    /// Tries that failed.
    pub tries: u32,
}

/// Messages that do not get through.
#[derive(Debug, Clone)]
pub struct Undelivered {
    /// The channel's name.
    pub channel: String,
    /// How many wait, or were given up lately.
    pub messages: i64,
    /// When the first of them was due.
    pub since: Timestamp,
    /// Why the last try failed.
    pub error: String,
}

impl Tx<'_> {
    /// Queues a message for a channel.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn queue_notice(&mut self, notice: &Notice) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO notice VALUES (NULL, :message, :channel, :alarm, :phase, :told_at, \
                 :cause, :kind, :severity, :code, :text, :what, :since, :due, :due, 0, NULL, NULL)",
            )?
            .execute(named_params! {
                ":message": notice.message,
                ":channel": notice.channel,
                ":alarm": notice.alarm,
                ":phase": notice.phase.as_str(),
                ":told_at": notice.told_at.as_ms(),
                ":cause": notice.facts.cause,
                ":kind": notice.facts.kind,
                ":severity": notice.severity.as_str(),
                ":code": notice.facts.code,
                ":text": notice.facts.text,
                ":what": notice.facts.what_to_do,
                ":since": notice.since.as_ms(),
                ":due": notice.first_due.as_ms(),
            })?;
        Ok(())
    }

    /// Takes back what was to be told later of an alarm: it goes on.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn withdraw_notices(&mut self, alarm: i64, now: Timestamp) -> Result<usize, StoreError> {
        Ok(self
            .connection
            .prepare_cached("DELETE FROM notice WHERE alarm = ?1 AND first_due > ?2 AND tries = 0")?
            .execute((alarm, now.as_ms()))?)
    }

    /// The channels that were told of an alarm, or are about to be.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn channels_told(&self, alarm: i64) -> Result<Vec<String>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT DISTINCT channel FROM notice WHERE alarm = ?1")?;
        let rows = statement.query_map([alarm], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The channel has taken it.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn notice_sent(&mut self, id: i64, now: Timestamp) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE notice SET due_at = NULL, sent_at = ?2, error = NULL WHERE id = ?1",
            )?
            .execute((id, now.as_ms()))?;
        Ok(())
    }

    /// A try failed; without a next one it is given up.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn notice_failed(
        &mut self,
        id: i64,
        next: Option<Timestamp>,
        error: &str,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE notice SET due_at = ?2, tries = tries + 1, error = ?3 WHERE id = ?1",
            )?
            .execute((id, next.map(Timestamp::as_ms), error))?;
        Ok(())
    }

    /// Gives up what waits for channels that are none of `known`. Returns how many messages that were.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn drop_notices_but_for(&mut self, known: &[String]) -> Result<usize, StoreError> {
        let waiting = {
            let mut statement = self
                .connection
                .prepare_cached("SELECT DISTINCT channel FROM notice WHERE due_at IS NOT NULL")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect::<Result<Vec<String>, _>>()?
        };
        let mut dropped = 0;
        for channel in waiting.iter().filter(|channel| !known.contains(channel)) {
            dropped += self
                .connection
                .prepare_cached(
                    "UPDATE notice SET due_at = NULL, error = 'the channel is no longer configured' \
                     WHERE channel = ?1 AND due_at IS NOT NULL",
                )?
                .execute([channel])?;
        }
        Ok(dropped)
    }
}

impl Snapshot<'_> {
    /// The message that a channel is to be given next, if one is due. One about an alarm waits for what
    /// was to be told of it before.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn next_notice(&self, channel: &str, now: Timestamp) -> Result<Option<Notice>, StoreError> {
        let found = self
            .connection
            .prepare_cached(
                "SELECT * FROM notice AS it WHERE channel = ?1 AND due_at <= ?2 AND NOT EXISTS \
                 (SELECT 1 FROM notice AS before WHERE before.alarm = it.alarm \
                  AND before.channel = it.channel AND before.id < it.id AND before.due_at NOT NULL) \
                 ORDER BY due_at, id LIMIT 1",
            )?
            .query_row((channel, now.as_ms()), |row| Ok(from_row(row)))
            .optional()?;
        found.transpose()
    }

    /// When a channel's next message is due that is not due yet.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn next_notice_due(
        &self,
        channel: &str,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let due: Option<i64> = self
            .connection
            .prepare_cached("SELECT min(due_at) FROM notice WHERE channel = ?1 AND due_at > ?2")?
            .query_row((channel, now.as_ms()), |row| row.get(0))?;
        Ok(due.map(Timestamp::from_ms))
    }

    /// How many messages are due and not sent.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn waiting_notices(&self, now: Timestamp) -> Result<i64, StoreError> {
        Ok(self
            .connection
            .prepare_cached(
                "SELECT count(*) FROM notice WHERE due_at NOT NULL AND first_due <= ?1",
            )?
            .query_row([now.as_ms()], |row| row.get(0))?)
    }

    /// Channels with messages that failed and were due before `before`.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn undelivered_notices(&self, before: Timestamp) -> Result<Vec<Undelivered>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT channel, count(*), min(first_due), max(error) FROM notice \
             WHERE due_at NOT NULL AND tries > 0 AND first_due < ?1 GROUP BY channel",
        )?;
        let rows = statement.query_map([before.as_ms()], |row| {
            Ok(Undelivered {
                channel: row.get(0)?,
                messages: row.get(1)?,
                since: Timestamp::from_ms(row.get(2)?),
                error: row.get(3)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn from_row(row: &Row<'_>) -> Result<Notice, StoreError> {
    let id: i64 = row.get("id")?;
    let damaged = || StoreError::Damaged(format!("notice {id}"));
    let (phase, severity): (String, String) = (row.get("phase")?, row.get("severity")?);
    Ok(Notice {
        id,
        message: row.get("message")?,
        channel: row.get("channel")?,
        alarm: row.get("alarm")?,
        phase: Phase::parse(&phase).ok_or_else(damaged)?,
        told_at: Timestamp::from_ms(row.get("told_at")?),
        facts: facts_of(row)?,
        severity: Severity::parse(&severity).ok_or_else(damaged)?,
        since: Timestamp::from_ms(row.get("since")?),
        first_due: Timestamp::from_ms(row.get("first_due")?),
        tries: row.get("tries")?,
    })
}
