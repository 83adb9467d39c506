//! The marketplace as a plain model: what is true of each code, how it answers, and what it must tell.

use crate::stage::{Asked, Said};
use crate::wire::{refresh, release, status};
use authcoded::clock::Clock;
use authcoded::domain::time::{DateText, HOUR_MS, SECOND_MS, Timestamp};
use serde_json::json;
use std::collections::BTreeMap;

/// How far a code's validity reaches after purchase, and how far each renewal carries it.
const PERIOD_MS: i64 = 24 * HOUR_MS;

/// What buyers and the marketplace's staff do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    Receive,
    Renew,
    Unrenew,
    /// For a violation, or because the grace after its end is over.
    Freeze,
    Unfreeze,
    Refund,
}

/// What can be wrong with the marketplace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No answer, and nothing was done.
    Unreachable,
    /// No answer, although it was done.
    Lost,
    /// 92020001.
    Internal,
    /// 92020005 for every code.
    Unknown,
    /// 92020011 for every query.
    NotActivated,
}

/// What is true of a code.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "facts, each by itself, as on the row")]
pub(super) struct Code {
    pub(super) received: bool,
    pub(super) activated: bool,
    pub(super) released: bool,
    pub(super) frozen: Option<Frozen>,
    pub(super) end: Timestamp,
    renewals: u32,
    /// It was wrongly called unknown: the merchant may have given up activating it.
    pub(super) denied: bool,
    /// The same, whatever was asked for since: calls that waited for it may have been given up.
    pub(super) was_denied: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frozen {
    Unpaid,
    Violation,
}

/// What a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    Renewal,
    Unrenewal,
    Freeze,
    /// The flag: of an unpaid end, which a query shows as well.
    Unfreeze(bool),
    Release,
}

/// A callback that the marketplace owes.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) code: String,
    pub(super) about: About,
    pub(super) order: String,
    pub(super) body: String,
    pub(super) at: Timestamp,
}

impl Message {
    pub(super) const fn is_status(&self) -> bool {
        matches!(self.about, About::Freeze | About::Unfreeze(_))
    }
}

/// The whole of it.
pub(super) struct Truth {
    pub(super) clock: Clock,
    pub(super) trouble: Option<Trouble>,
    pub(super) codes: BTreeMap<String, Code>,
    orders: u32,
}

impl Truth {
    /// Three codes: one just bought, one the buyer has received, one in use before we came.
    pub(super) fn new(clock: Clock) -> Self {
        let end = whole_second(clock.now().plus_ms(PERIOD_MS));
        let code = |received, activated| Code {
            received,
            activated,
            released: false,
            frozen: None,
            end,
            renewals: 0,
            denied: false,
            was_denied: false,
        };
        let codes = [code(false, false), code(true, false), code(true, true)];
        let codes = codes.into_iter().enumerate().map(|(n, code)| (format!("PL{n}"), code));
        Self { clock, trouble: None, codes: codes.collect(), orders: 0 }
    }

    pub(super) fn is_alive(&self, code: &str) -> bool {
        let true_code = &self.codes[code];
        true_code.activated
            && !true_code.released
            && true_code.frozen != Some(Frozen::Unpaid)
            && self.clock.now() < true_code.end
    }

    /// Answers the merchant; none when the connection is cut.
    pub(super) fn answer(&mut self, asked: Asked, code: &str) -> Said {
        let error = |code: &str| Some(json!({ "error_code": code, "error_msg": "as asked for" }));
        match (self.trouble, asked) {
            (Some(Trouble::Unreachable), _) => return None,
            (Some(Trouble::Internal), _) => return error("92020001"),
            (Some(Trouble::NotActivated), Asked::Query) => return error("92020011"),
            (Some(Trouble::Unknown), _) => {
                let it = self.codes.get_mut(code)?;
                (it.denied, it.was_denied) = (true, true);
                return error("92020005");
            }
            (Some(Trouble::Lost | Trouble::NotActivated) | None, _) => {}
        }
        let alive = self.is_alive(code);
        let true_code = self.codes.get_mut(code)?;
        let end = DateText::from_utc(true_code.end).as_str().to_owned();
        let said = match asked {
            Asked::Activate => {
                let possible =
                    !(true_code.activated || true_code.released || true_code.frozen.is_some());
                if !possible {
                    error("92020003")
                } else if true_code.received {
                    true_code.activated = true;
                    let info = json!({ "status": "ALIVE", "expire_time": end }).to_string();
                    Some(json!({ "error_code": "92020000", "data": { "license_code_info": info } }))
                } else {
                    error("92020004")
                }
            }
            Asked::Query if !true_code.activated && !true_code.released => error("92020011"),
            Asked::Query => {
                let status = if true_code.released {
                    "RELEASED"
                } else if alive {
                    "ALIVE"
                } else {
                    "EXPIRED"
                };
                let data = json!({ "license_code": code, "status": status, "expire_time": end });
                Some(json!({ "error_code": "92020000", "data": data }))
            }
        };
        said.filter(|_| self.trouble != Some(Trouble::Lost))
    }

    /// Does it, if it can be done, and returns what the merchant is to be told.
    pub(super) fn act(&mut self, code: &str, act: Act) -> Vec<Message> {
        let now = self.clock.now();
        self.orders += 1;
        let order = format!("CS{}", self.orders);
        let Some(it) = self.codes.get_mut(code).filter(|it| !it.released) else { return vec![] };
        let mut messages = Vec::new();
        let mut tell = |about, body| {
            let (code, order) = (code.to_owned(), order.clone());
            messages.push(Message { code, about, order, body, at: now });
        };
        match act {
            Act::Receive => it.received = true,
            Act::Renew => {
                it.end = whole_second(it.end.max(now).plus_ms(PERIOD_MS));
                it.renewals += 1;
                let end = DateText::from_utc(it.end);
                tell(About::Renewal, refresh("RENEWAL", code, &order, end.as_str()));
                if it.frozen == Some(Frozen::Unpaid) {
                    it.frozen = None;
                    tell(About::Unfreeze(true), status(code, "UNFREEZE"));
                }
            }
            Act::Unrenew if it.renewals > 0 => {
                it.end = it.end.plus_ms(-PERIOD_MS);
                it.renewals -= 1;
                let end = DateText::from_utc(it.end);
                let body = refresh("UNSUBSCRIBE_RENEWAL_PERIOD", code, &order, end.as_str());
                tell(About::Unrenewal, body);
            }
            Act::Freeze if it.frozen.is_none() => {
                let unpaid = it.activated && now >= it.end;
                it.frozen = Some(if unpaid { Frozen::Unpaid } else { Frozen::Violation });
                tell(About::Freeze, status(code, "FREEZE"));
            }
            Act::Unfreeze if it.frozen == Some(Frozen::Violation) => {
                it.frozen = None;
                tell(About::Unfreeze(false), status(code, "UNFREEZE"));
            }
            Act::Refund => {
                it.released = true;
                tell(About::Release, release(code, &order));
            }
            Act::Unrenew | Act::Freeze | Act::Unfreeze => {}
        }
        messages
    }
}

fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_ms(at.as_ms().div_euclid(SECOND_MS) * SECOND_MS)
}
