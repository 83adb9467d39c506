//! What is wrong now. Derived from what is stored and known, so that an alarm clears by itself.

use super::{Guard, signature, undelivered};
pub use crate::domain::alarm::{Alarm, Severity};
use crate::domain::time::{DAY_MS, HOUR_MS, Timestamp};
use crate::lifecycle::STRANGE;
use crate::store::{DIAGNOSES_APART_MS, EventFilter, Overdue, StoreError, UsageTrouble};

/// A contradiction is shown for this long.
const CONTRADICTION_MS: i64 = DAY_MS;
/// Contradictions shown at most.
const CONTRADICTIONS: usize = 50;
/// A purchase whose code is awaited for longer than this is told.
const AWAITED_MS: i64 = 3 * DAY_MS;
/// Something that no document told us of is shown for this long after it was first seen.
const STRANGE_MS: i64 = 7 * DAY_MS;
/// Usage that was given up is shown for this long.
const USAGE_FAILED_MS: i64 = DAY_MS;
/// A usage report that does not get through for this long is told.
const USAGE_STUCK_MS: i64 = 2 * HOUR_MS;

/// The alarm for something strange; its fact holds when it was first seen, and what it was.
fn of_strange(id: String, told: &str, now: Timestamp) -> Option<Alarm> {
    let (seen_at, text) = told.split_once(' ')?;
    let since = Timestamp::from_ms(seen_at.parse().ok()?);
    (now.ms_since(since) < STRANGE_MS).then(|| Alarm {
        id,
        kind: "strange_answer",
        since,
        severity: Severity::Warning,
        code: None,
        text: text.to_owned(),
        what_to_do: "nothing was applied because of it; look whether the marketplace's documents have grown, and tell the maintainers of authcoded",
    })
}

impl Guard {
    /// What is wrong now, the most urgent first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn alarms(&self) -> Result<Vec<Alarm>, StoreError> {
        let now = self.lifecycle.clock.now();
        let mut alarms = Vec::new();
        self.marketplace(now, &mut alarms);
        alarms.extend(self.restart_alarms(now)?);
        alarms.extend(self.deaf_alarms()?);
        self.watch.refresh(&self.lifecycle)?;
        alarms.extend(self.watch.alarms(self.clock_skew_ms(), now));
        let filter = EventFilter {
            kind: Some("contradiction".to_owned()),
            since: Some(now.plus_ms(-CONTRADICTION_MS)),
            limit: CONTRADICTIONS,
            ..Default::default()
        };
        let (orphans, orders, usage, contradictions, strange, diagnoses) =
            self.lifecycle.store.read(|snapshot| {
                let orders = snapshot.awaited_orders(now.plus_ms(-AWAITED_MS))?;
                let usage = snapshot.usage_trouble(now.plus_ms(-USAGE_FAILED_MS))?;
                let (orphans, strange) = (snapshot.orphan_count()?, snapshot.facts(STRANGE)?);
                let events = snapshot.recent_events(&filter)?;
                let diagnoses = snapshot.diagnoses(now.plus_ms(-DIAGNOSES_APART_MS))?;
                Ok((orphans, orders, usage, events, strange, diagnoses))
            })?;
        alarms.extend(signature::alarms(&diagnoses, now));
        alarms.extend(strange.into_iter().filter_map(|(name, told)| of_strange(name, &told, now)));
        alarms.extend(self.availability_alarms(now)?);
        if orphans > 0 {
            alarms.push(Alarm {
                id: "orphans".to_owned(),
                kind: "orphans",
                since: now,
                severity: Severity::Warning,
                code: None,
                text: format!("{orphans} callbacks wait for the marketplace to be asked about their codes"),
                what_to_do: "nothing while the marketplace is away; otherwise see `authcoded callback list`",
            });
        }
        alarms.extend(orders.map(orders_awaited));
        alarms.extend(self.lifecycle.store.read(|snapshot| undelivered::alarms(snapshot, now))?);
        alarms.extend(of_usage(&usage, now));
        for event in contradictions {
            alarms.push(Alarm {
                id: format!("contradiction-{}", event.id),
                kind: "contradiction",
                since: event.at,
                severity: Severity::Warning,
                code: event.code,
                text: event.detail,
                what_to_do: "see `authcoded license show` and compare with the seller's console",
            });
        }
        alarms.sort_by_key(|alarm| std::cmp::Reverse((alarm.severity, alarm.since)));
        Ok(alarms)
    }

    fn marketplace(&self, now: Timestamp, alarms: &mut Vec<Alarm>) {
        if let Some(until) = self.lifecycle.marketplace.stopped_until() {
            alarms.push(Alarm {
                id: "marketplace-stop".to_owned(),
                kind: "marketplace_stop",
                since: now,
                severity: Severity::High,
                code: None,
                text: format!("the marketplace refused our access key: no calls until {until}"),
                what_to_do: "check the clock, then AK and SK in the console and their files; five more refusals lock the key",
            });
        }
        let domains = self.lifecycle.marketplace.domains();
        let resting: Vec<_> =
            domains.iter().filter(|(_, rests)| rests.is_some()).map(|(name, _)| &**name).collect();
        if !resting.is_empty() {
            let all = resting.len() == domains.len();
            alarms.push(Alarm {
                id: "marketplace-away".to_owned(),
                kind: "marketplace_away",
                since: now,
                severity: if all { Severity::High } else { Severity::Warning },
                code: None,
                text: format!("no usable answer of {} several times in a row", resting.join(", ")),
                what_to_do: "codes run on from what is known; check DNS, firewall and the marketplace's announcements. It is tried again every minute",
            });
        }
    }
}

fn orders_awaited(overdue: Overdue) -> Alarm {
    let Overdue { count, oldest, since } = overdue;
    let text = if count == 1 {
        format!("order {oldest} was bought, but no code was registered for it")
    } else {
        let others = count - 1;
        format!("order {oldest} and {others} more were bought, but no code was registered for them")
    };
    Alarm {
        id: "orders-awaited".to_owned(),
        kind: "orders_awaited",
        since,
        severity: Severity::Warning,
        code: None,
        text,
        what_to_do: "see `authcoded order list --state awaited`; ask the buyer to receive the code and hand it over, then `authcoded license add CODE --order-id ORDER`",
    }
}

fn of_usage(trouble: &UsageTrouble, now: Timestamp) -> Vec<Alarm> {
    let alarm = |kind: &'static str, since, text, what_to_do| Alarm {
        id: kind.replace('_', "-"),
        kind,
        since,
        severity: Severity::Warning,
        code: None,
        text,
        what_to_do,
    };
    let mut alarms = Vec::new();
    if trouble.failed > 0 {
        let code = trouble.error_code.as_deref().unwrap_or("no code");
        alarms.push(alarm(
            "usage_failed",
            now,
            format!("{} entries of usage reports were given up ({code})", trouble.failed),
            "see `authcoded usage list --state failed`, and the codes' history for why",
        ));
    }
    let stuck = trouble.under_way_since.filter(|at| now.ms_since(*at) >= USAGE_STUCK_MS);
    if let Some(since) = stuck {
        alarms.push(alarm(
            "usage_waiting",
            since,
            "a usage report does not get through; nothing of it is lost".to_owned(),
            "see the log for `marketplace call` with the api `usage`; then `authcoded job run usage`",
        ));
    }
    alarms
}
