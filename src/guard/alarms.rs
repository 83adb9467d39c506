//! What is wrong now. Derived from what is stored and known, so that an alarm clears by itself.

use super::Guard;
use crate::domain::time::{DAY_MS, HOUR_MS, Timestamp};
use crate::lifecycle::STRANGE;
use crate::store::{EventFilter, Overdue, StoreError, UsageTrouble};

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
/// Skew of the clock that is told (hazards: alarm at 20 s, high at 45 s).
const SKEW_WARN_MS: i64 = 20_000;
const SKEW_HIGH_MS: i64 = 45_000;

/// How much of a hurry there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Look at it this week.
    Warning,
    /// Look at it today.
    High,
}

impl Severity {
    /// The word used in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::High => "high",
        }
    }
}

/// Something that needs a human.
#[derive(Debug, Clone)]
pub struct Alarm {
    /// The same for the same cause.
    pub id: String,
    /// What kind of trouble.
    pub kind: &'static str,
    /// Since when.
    pub since: Timestamp,
    /// How much of a hurry there is.
    pub severity: Severity,
    /// The code concerned.
    pub code: Option<String>,
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub what_to_do: &'static str,
}

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
        self.stop_and_skew(now, &mut alarms);
        let filter = EventFilter {
            kind: Some("contradiction".to_owned()),
            since: Some(now.plus_ms(-CONTRADICTION_MS)),
            limit: CONTRADICTIONS,
            ..Default::default()
        };
        let (probe, orphans, orders, usage, contradictions, strange) =
            self.lifecycle.store.read(|snapshot| {
                let probe = snapshot.probes(None, 1)?.into_iter().next();
                let orders = snapshot.awaited_orders(now.plus_ms(-AWAITED_MS))?;
                let usage = snapshot.usage_trouble(now.plus_ms(-USAGE_FAILED_MS))?;
                let (orphans, strange) = (snapshot.orphan_count()?, snapshot.facts(STRANGE)?);
                let events = snapshot.recent_events(&filter)?;
                Ok((probe, orphans, orders, usage, events, strange))
            })?;
        alarms.extend(strange.into_iter().filter_map(|(name, told)| of_strange(name, &told, now)));
        if let Some(probe) = probe.filter(|probe| probe.outcome == "failed") {
            alarms.push(Alarm {
                id: "heartbeat".to_owned(),
                kind: "heartbeat",
                since: probe.started_at,
                severity: Severity::High,
                code: None,
                text: format!("the availability heartbeat of {} failed", probe.slot),
                what_to_do: "see `authcoded probe list`, repair what the failed step names, then `authcoded probe run`",
            });
        }
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

    fn stop_and_skew(&self, now: Timestamp, alarms: &mut Vec<Alarm>) {
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
        let skew_ms = self.clock_skew_ms().unwrap_or(0);
        if skew_ms.abs() >= SKEW_WARN_MS {
            let high = skew_ms.abs() >= SKEW_HIGH_MS;
            alarms.push(Alarm {
                id: "clock".to_owned(),
                kind: "clock",
                since: now,
                severity: if high { Severity::High } else { Severity::Warning },
                code: None,
                text: format!("our clock is {skew_ms} ms ahead of the marketplace's"),
                what_to_do: "repair time synchronisation: at 60 s every callback is refused",
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
