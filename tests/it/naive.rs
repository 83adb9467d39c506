//! The contract read a second time, naively: the table is the contract's own text, looked up word for
//! word, and a code is a row of plain values. Written from product.md §3, §3.1, §4 and §9 alone.

use std::collections::HashMap;
use std::sync::LazyLock;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// Heading and state to what the contract prints there.
static TABLE: LazyLock<HashMap<(String, String), String>> = LazyLock::new(|| {
    let text = include_str!("snapshots/transitions.md");
    let cells = |line: &str| {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    };
    let mut lines = text.lines();
    let states = cells(lines.next().expect("a heading"));
    let rows = lines.skip(1).map(cells);
    rows.flat_map(|row| {
        let input = row[0].clone();
        let states = states.clone().into_iter();
        states.zip(row).skip(1).map(move |(state, cell)| ((input.clone(), state), cell))
    })
    .collect()
});

/// An end: the text, in the configured zone, and in the later of its two readings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) text: String,
    pub(crate) at: i64,
    pub(crate) latest: i64,
}

/// Something that happens to a code. Times are milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Happening<'a> {
    /// The heading of its row.
    pub(crate) input: &'a str,
    pub(crate) now: i64,
    /// Of a status call.
    pub(crate) signed_at: i64,
    /// Of a question to the marketplace.
    pub(crate) asked_at: i64,
    /// Whether it answers a query, which 92020005 alone does not tell.
    pub(crate) is_query: bool,
    pub(crate) end: Option<End>,
}

/// A freeze in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Freeze {
    pub(crate) since: i64,
    pub(crate) applied_at: i64,
    pub(crate) from: &'static str,
    pub(crate) end_then: Option<i64>,
}

/// What the contract says of one code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) state: &'static str,
    pub(crate) end: Option<End>,
    pub(crate) end_confirmed_at: Option<i64>,
    pub(crate) freeze: Option<Freeze>,
    pub(crate) renewals: i64,
    pub(crate) ever_activated: bool,
    pub(crate) status_seen: Option<i64>,
    pub(crate) callback_at: Option<i64>,
    pub(crate) buyer_waits: usize,
    /// What the marketplace last said, and when that was asked.
    pub(crate) said: Option<(&'static str, i64)>,
}

/// What happens besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) refused: bool,
    pub(crate) stale: bool,
    pub(crate) alarm: bool,
    /// When the marketplace must be asked.
    pub(crate) asks: Vec<i64>,
    /// When the activation is to be tried next.
    pub(crate) activate_at: Option<i64>,
}

impl Row {
    pub(crate) fn new() -> Self {
        Self {
            state: "issued",
            end: None,
            end_confirmed_at: None,
            freeze: None,
            renewals: 0,
            ever_activated: false,
            status_seen: None,
            callback_at: None,
            buyer_waits: 0,
            said: None,
        }
    }

    /// §3: looks the cell up and does what it says.
    pub(crate) fn apply(&mut self, it: &Happening<'_>) -> Told {
        let mut told = Told::default();
        if self.too_old(it, &mut told) {
            return told;
        }
        self.take_note(it);
        let cell = TABLE[&(it.input.to_owned(), self.state.to_owned())].as_str();
        match cell {
            "—" => {}
            "refused" => told.refused = true,
            "000003, alarm" => (told.refused, told.alarm) = (true, true),
            "alarm" | "— alarm" | "— park, alarm" => told.alarm = true,
            "received" => self.state = "received",
            "received, then activated (two events)"
            | "received, activated"
            | "received, activated; expired"
            | "activated; expired"
            | "activated" => {
                self.activate(it);
                told.asks.extend((!it.is_query).then_some(it.now));
            }
            "— wait for buyer" => self.wait(it, &mut told),
            "**issued** (correction), wait" => {
                self.state = "issued";
                self.wait(it, &mut told);
            }
            "— (ask)" => {
                self.ever_activated = true;
                told.asks.push(it.now);
            }
            "— ask now" => told.asks.push(it.now),
            "— store" | "— store expiry" | "— new expiry" | "— expired" => self.store(it),
            "thaw only if §3.1" => self.alive_while_frozen(it),
            "renewed" => {
                self.store(it);
                self.state = "renewed";
            }
            "— new expiry, thaws to renewed; ask now" => {
                self.store(it);
                told.asks.extend([it.now, it.now + 5 * MINUTE]);
            }
            "activated when no renewal is left, else —" => {
                self.store(it);
                if self.renewals == 0 {
                    self.state = "activated";
                }
            }
            "frozen" => {
                let end_then = self.end.as_ref().map(|end| end.at);
                let (since, applied_at) = (it.signed_at, it.now);
                self.freeze = Some(Freeze { since, applied_at, from: self.state, end_then });
                self.state = "frozen";
                told.asks.push(it.now);
            }
            "the state it came from" => {
                self.thaw(it);
                told.asks.push(it.now);
            }
            "released" => (self.state, self.freeze) = ("released", None),
            other => panic!("the contract says {other:?}, which this reader does not know"),
        }
        if cell.ends_with("expired") && self.end_confirmed_at.is_none() {
            self.end_confirmed_at = Some(it.now);
        }
        told
    }

    /// §3.1: a status call signed before the last one, and an answer asked before the last callback.
    fn too_old(&self, it: &Happening<'_>, told: &mut Told) -> bool {
        if ["FREEZE", "UNFREEZE"].contains(&it.input) {
            told.stale = self.status_seen.is_some_and(|last| it.signed_at < last);
        }
        if it.is_query && it.input != "query RELEASED" {
            told.stale = self.callback_at.is_some_and(|last| it.asked_at <= last);
            told.asks.extend(told.stale.then_some(it.now));
        }
        told.stale
    }

    fn take_note(&mut self, it: &Happening<'_>) {
        match it.input {
            "FREEZE" | "UNFREEZE" => {
                self.status_seen = Some(it.signed_at);
                self.callback_at = Some(it.now);
            }
            "RENEWAL" | "UNSUBSCRIBE_RENEWAL_PERIOD" | "release" => self.callback_at = Some(it.now),
            "query ALIVE" => self.said = Some(("alive", it.asked_at)),
            "query EXPIRED" => self.said = Some(("expired", it.asked_at)),
            "query RELEASED" => self.said = Some(("released", it.asked_at)),
            _ if it.is_query => self.said = Some(("unknown", it.asked_at)),
            _ => {}
        }
    }

    /// The new end and the count of renewals.
    fn store(&mut self, it: &Happening<'_>) {
        match it.input {
            "RENEWAL" => self.renewals += 1,
            "UNSUBSCRIBE_RENEWAL_PERIOD" => self.renewals = (self.renewals - 1).max(0),
            // An estimate, which does not count against a callback that came meanwhile.
            "activate 92020000" if self.callback_at.is_some_and(|at| it.asked_at <= at) => return,
            _ => {}
        }
        if let Some(end) = &it.end {
            self.end = Some(end.clone());
            if it.input == "RENEWAL" || it.input == "UNSUBSCRIBE_RENEWAL_PERIOD" {
                let passed = end.latest <= it.now;
                if !passed {
                    self.end_confirmed_at = None;
                } else if it.input == "UNSUBSCRIBE_RENEWAL_PERIOD" {
                    // §9: an authentic un-renewal whose end has passed confirms the end.
                    self.end_confirmed_at = Some(it.now);
                }
            }
        }
        if it.input == "query ALIVE" {
            self.end_confirmed_at = None;
        }
    }

    /// §9: a renewal stored before activation counts.
    fn activate(&mut self, it: &Happening<'_>) {
        self.ever_activated = true;
        self.buyer_waits = 0;
        self.state = if self.renewals > 0 { "renewed" } else { "activated" };
        self.store(it);
    }

    /// §3.2: 10 min, 30 min, 1 h, 2 h, 4 h, then every 6 h.
    fn wait(&mut self, it: &Happening<'_>, told: &mut Told) {
        let ladder = [10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR];
        let wait = ladder.get(self.buyer_waits).copied().unwrap_or(6 * HOUR);
        told.activate_at = Some(it.now + wait);
        self.buyer_waits += 1;
    }

    /// §3.1: thaws when the freeze began at or after expiry, and the answer is newer than the freeze and
    /// shows a later expiry.
    fn alive_while_frozen(&mut self, it: &Happening<'_>) {
        self.ever_activated = true;
        let paid = self.freeze.as_ref().is_some_and(|freeze| {
            let shown = it.end.as_ref().map(|end| end.at);
            freeze
                .end_then
                .is_some_and(|end| freeze.since >= end && shown.is_some_and(|shown| shown > end))
                && it.asked_at > freeze.applied_at
        });
        self.store(it);
        if paid {
            self.thaw(it);
        }
    }

    /// §9: once activated, to renewed if a renewal is in force, else to activated; never activated, back
    /// to where it came from.
    fn thaw(&mut self, it: &Happening<'_>) {
        let freeze = self.freeze.take().expect("frozen");
        self.state = match (self.ever_activated, self.renewals) {
            (false, _) => freeze.from,
            (true, 0) => "activated",
            (true, _) => "renewed",
        };
        if self.end.as_ref().is_some_and(|end| end.latest > it.now) {
            self.end_confirmed_at = None;
        }
    }

    /// §4: whether the software may run.
    pub(crate) fn allows(&self, now: i64) -> bool {
        let in_use = ["activated", "renewed"].contains(&self.state);
        let ended = self.end.as_ref().is_some_and(|end| {
            let alive_at = self.said.filter(|(word, _)| *word == "alive").map_or(0, |(_, at)| at);
            now >= end.latest.max(alive_at) + 72 * HOUR && now >= end.latest
        });
        in_use && self.end_confirmed_at.is_none() && !ended
    }
}
