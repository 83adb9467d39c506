//! The book of alarms: what is wrong now is compared with what was written down, and people are told.
//!
//! Invariant: the alarm, its event and the messages about it are written in one transaction, so that none
//! of them is without the others. What is wrong is derived ([`Guard::alarms`]) and never read from here.

use super::{Alarm, Guard, Severity};
use crate::domain::alarm::{Change, Phase, Restraint, Ruling, Standing, fades, rule};
use crate::domain::time::{MINUTE_MS, Timestamp};
use crate::domain::transition::{EventDraft, EventKind, Source};
use crate::protocol::hex;
use crate::store::{AlarmFacts, AlarmRow, Notice, StoreError, Tx};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::collections::BTreeMap;
use tokio::sync::watch;

/// What is known only from watching (the clock, domains that rest) is not known yet so long after a start:
/// nothing is taken for gone before.
const BLIND_MS: i64 = MINUTE_MS;

/// Who is told of alarms, and how often.
pub struct Telling {
    /// How often.
    pub restraint: Restraint,
    /// Who.
    pub subscribers: Vec<Subscriber>,
    /// Rung when messages were queued.
    pub bell: watch::Sender<()>,
}

/// A channel that wants to be told.
#[derive(Debug, Clone)]
pub struct Subscriber {
    /// Its name.
    pub channel: String,
    /// The least severity that it wants.
    pub least: Severity,
}

impl Default for Telling {
    fn default() -> Self {
        Self {
            restraint: Restraint::default(),
            subscribers: Vec::new(),
            bell: watch::Sender::new(()),
        }
    }
}

/// An alarm as operators see it: what is wrong, and what is written of it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// What is wrong.
    pub facts: AlarmFacts,
    /// Since when; over restarts, too.
    pub since: Timestamp,
    /// How much of a hurry there is.
    pub severity: Severity,
    /// What the book holds of it; `None` until the next look, within a minute.
    pub entry: Option<AlarmRow>,
}

impl Listed {
    fn now(alarm: &Alarm, entry: Option<AlarmRow>) -> Self {
        let since = entry.as_ref().map_or(alarm.since, |row| row.standing.since.min(alarm.since));
        Self { facts: alarm.into(), since, severity: alarm.severity, entry }
    }

    fn cleared(row: AlarmRow) -> Self {
        let Standing { since, severity, .. } = row.standing;
        Self { facts: row.facts.clone(), since, severity, entry: Some(row) }
    }
}

/// What a look found to be told once it is committed.
#[derive(Default)]
struct News {
    lines: Vec<(Change, Severity, AlarmFacts)>,
    queued: usize,
}

impl Guard {
    /// Looks at every cause anew and writes down what has changed, with the messages about it.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is written or told then, and the next look finds the same.
    pub async fn keep_alarms(&self) -> Result<(), StoreError> {
        let now = self.lifecycle.clock.now();
        let found: BTreeMap<String, Alarm> =
            self.alarms()?.into_iter().map(|alarm| (alarm.id.clone(), alarm)).collect();
        if found.is_empty() && self.lifecycle.store.read(|s| s.open_alarms())?.is_empty() {
            return Ok(());
        }
        let book = Book {
            restraint: self.telling.restraint,
            subscribers: self.telling.subscribers.clone(),
            sees_all: now.ms_since(self.started_at)
                >= BLIND_MS.min(self.telling.restraint.settle_ms),
            now,
        };
        let news = self.lifecycle.store.write(move |tx| book.keep(tx, &found)).await?;
        for (change, severity, facts) in &news.lines {
            tell(*change, *severity, facts);
        }
        if news.queued > 0 {
            self.telling.bell.send_replace(());
        }
        Ok(())
    }

    /// Asks for a look before the minute is over: something may have changed.
    pub fn look_again(&self) {
        self.look.notify_one();
    }

    /// Resolves when somebody asked for a look.
    pub async fn look_wanted(&self) {
        self.look.notified().await;
    }

    /// What is wrong now, with what is written of it; the most urgent first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn listed_alarms(&self) -> Result<Vec<Listed>, StoreError> {
        let rows = self.lifecycle.store.read(|snapshot| snapshot.open_alarms())?;
        let mut rows: BTreeMap<String, AlarmRow> =
            rows.into_iter().map(|row| (row.facts.cause.clone(), row)).collect();
        let found = self.alarms()?;
        Ok(found.iter().map(|alarm| Listed::now(alarm, rows.remove(&alarm.id))).collect())
    }

    /// What was wrong and went, the newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn cleared_alarms(
        &self,
        below: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Listed>, StoreError> {
        let store = &self.lifecycle.store;
        let rows = store.list(move |snapshot| snapshot.cleared_alarms(below, limit)).await?;
        Ok(rows.into_iter().map(Listed::cleared).collect())
    }

    /// Somebody looks after an alarm: no reminders until it is gone or becomes more severe. `None`: it is
    /// not wrong now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn acknowledge(
        &self,
        id: &str,
        reason: String,
    ) -> Result<Option<Listed>, StoreError> {
        // One that was raised a moment ago is not in the book yet.
        self.keep_alarms().await?;
        let (cause, now) = (id.to_owned(), self.lifecycle.clock.now());
        let known = self
            .lifecycle
            .store
            .write(move |tx| {
                let known = tx.acknowledge_alarm(&cause, &reason, now)?;
                if known {
                    let detail = format!("alarm {cause} acknowledged: {reason}");
                    let event = EventDraft::note(EventKind::Alarm, detail);
                    tx.append_event(now, None, Source::Operator, &event)?;
                }
                Ok(known)
            })
            .await?;
        let listed = self.listed_alarms()?.into_iter().find(|listed| listed.facts.cause == id);
        Ok(listed.filter(|_| known))
    }
}

/// One look's pen.
struct Book {
    restraint: Restraint,
    subscribers: Vec<Subscriber>,
    /// Whether what is not found may be taken for gone.
    sees_all: bool,
    now: Timestamp,
}

impl Book {
    fn keep(&self, tx: &mut Tx<'_>, found: &BTreeMap<String, Alarm>) -> Result<News, StoreError> {
        let mut news = News::default();
        for row in tx.open_alarms()? {
            if self.sees_all && !found.contains_key(&row.facts.cause) {
                let ruling = rule(&self.restraint, Some(&row.standing), None, self.now);
                self.write(tx, &mut news, Some(&row), &row.facts, ruling)?;
            }
        }
        for alarm in found.values() {
            let last = tx.last_alarm(&alarm.id)?;
            let standing = last.as_ref().map(|row| &row.standing);
            let ruling = rule(&self.restraint, standing, Some(alarm), self.now);
            self.write(tx, &mut news, last.as_ref(), &alarm.into(), ruling)?;
        }
        Ok(news)
    }

    fn write(
        &self,
        tx: &mut Tx<'_>,
        news: &mut News,
        row: Option<&AlarmRow>,
        facts: &AlarmFacts,
        ruling: Option<Ruling>,
    ) -> Result<(), StoreError> {
        let Some(Ruling { change, standing, tell }) = ruling else { return Ok(()) };
        let id = match (change, row) {
            (Change::Raised, _) | (_, None) => tx.insert_alarm(facts, &standing, self.now)?,
            (Change::Cleared, Some(row)) => {
                tx.save_alarm(row.id, &standing, None, false, self.now)?;
                row.id
            }
            (Change::Still | Change::Reopened, Some(row)) => {
                let reopened = change == Change::Reopened;
                tx.save_alarm(row.id, &standing, Some(facts), reopened, self.now)?;
                row.id
            }
        };
        if change == Change::Reopened {
            tx.withdraw_notices(id, self.now)?;
        }
        if change != Change::Still {
            // Without its code: a code's history holds what happened to it, and this alarm's cause with it.
            let event = EventDraft::note(EventKind::Alarm, detail(change, &standing, facts));
            tx.append_event(self.now, None, Source::Timer, &event)?;
            news.lines.push((change, standing.severity, facts.clone()));
        }
        if let Some((phase, due)) = tell {
            news.queued += self.queue(tx, id, facts, &standing, phase, due)?;
        }
        Ok(())
    }

    /// Queues a message for each channel that wants it; that something is over, for those who know of it.
    fn queue(
        &self,
        tx: &mut Tx<'_>,
        id: i64,
        facts: &AlarmFacts,
        standing: &Standing,
        phase: Phase,
        due: Timestamp,
    ) -> Result<usize, StoreError> {
        let over = phase == Phase::Over;
        if over && fades(&facts.kind) {
            return Ok(0);
        }
        let know = if over { tx.channels_told(id)? } else { Vec::new() };
        let wanted = self.subscribers.iter().filter(|subscriber| {
            if over {
                know.contains(&subscriber.channel)
            } else {
                subscriber.least <= standing.severity
            }
        });
        let mut notice = Notice {
            id: 0,
            message: format!("{id}-{}", random_word(self.now)),
            channel: String::new(),
            alarm: id,
            phase,
            told_at: self.now,
            facts: facts.clone(),
            severity: standing.severity,
            since: standing.since,
            first_due: due,
            tries: 0,
        };
        let mut queued = 0;
        for subscriber in wanted {
            notice.channel.clone_from(&subscriber.channel);
            tx.queue_notice(&notice)?;
            queued += 1;
        }
        Ok(queued)
    }
}

fn detail(change: Change, standing: &Standing, facts: &AlarmFacts) -> String {
    let AlarmFacts { cause, text, .. } = facts;
    let severity = standing.severity.as_str();
    match change {
        Change::Raised => format!("alarm {cause} raised ({severity}): {text}"),
        Change::Reopened => format!("alarm {cause} is back ({severity}): {text}"),
        Change::Still => format!("alarm {cause} goes on ({severity}): {text}"),
        Change::Cleared => format!("alarm {cause} is over: {text}"),
    }
}

fn tell(change: Change, severity: Severity, facts: &AlarmFacts) {
    let AlarmFacts { cause, kind, text, .. } = facts;
    let severity = severity.as_str();
    match change {
        Change::Raised | Change::Reopened => {
            tracing::warn!(alarm = cause, kind, severity, "alarm: {text}; {}", facts.what_to_do);
        }
        Change::Cleared => tracing::info!(alarm = cause, kind, severity, "alarm over: {text}"),
        Change::Still => {}
    }
}

/// Tells messages of two installations, or of one before and after a restored backup, apart.
fn random_word(now: Timestamp) -> String {
    let mut bytes = [0; 6];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => hex::encode(&bytes),
        Err(_) => now.as_ms().to_string(),
    }
}
