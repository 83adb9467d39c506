//! The marketplace's own truth about codes: who bought what, until when, and what became of it.
//!
//! Invariant: pure. Every function takes the time; what must be told to the merchant comes back as
//! [`Message`]s, and whether they arrive changes nothing here (protocol.md 1.1).

use super::code::{Code, NewEnd, Order, OrderKind, Purchase, Refused, Renewal, Stage};
use super::codes::{self, Known};
use super::message::{Message, OrderRef, Scene, TestFlag};
use super::random::Random;
use crate::domain::license;
use crate::domain::time::{DateText, SECOND_MS, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// All codes and orders.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Market {
    codes: BTreeMap<String, Code>,
    orders: BTreeMap<String, Order>,
}

impl Market {
    /// The buyer buys and pays. The code's name.
    pub(super) fn buy(
        &mut self,
        purchase: Purchase,
        ids: &mut Random,
        now: Timestamp,
    ) -> Result<String, Refused> {
        let license = self.free_license(purchase.license, ids)?;
        let expires_at = purchase.expires_at.unwrap_or(now + purchase.validity);
        let product_id = purchase.product_id.unwrap_or_else(|| "12345".to_owned());
        let order = self.place(OrderKind::New, &product_id, expires_at, ids, now);
        let code = Code {
            license: license.clone(),
            stage: if purchase.received { Stage::Received } else { Stage::Issued },
            order,
            product_id,
            amount: purchase.amount.max(1),
            issued_at: now,
            activated_at: None,
            expires_at,
            end_fixed: purchase.expires_at.is_some(),
            frozen_at: None,
            renewals: Vec::new(),
        };
        self.codes.insert(license.clone(), code);
        Ok(license)
    }

    /// The buyer takes the code (领取).
    pub(super) fn receive(&mut self, license: &str) -> Result<(), Refused> {
        let code = self.live(license)?;
        match code.stage {
            Stage::Issued => code.stage = Stage::Received,
            Stage::Received | Stage::Activated | Stage::Released => {
                return Err(Refused::Received(license.to_owned()));
            }
        }
        Ok(())
    }

    /// What `activate` would answer, without doing it (protocol.md 2.2).
    pub(super) fn may_activate(
        &self,
        license: &str,
        effect: Option<Timestamp>,
    ) -> Result<(), Known> {
        let code = self.codes.get(license).ok_or(codes::UNKNOWN_LICENSE)?;
        match code.stage {
            _ if code.frozen_at.is_some() => Err(codes::ILLEGAL_STATE),
            Stage::Activated | Stage::Released => Err(codes::ILLEGAL_STATE),
            Stage::Issued => Err(codes::NOT_RECEIVED),
            // The effect time has seconds only, so the order's time is cut to seconds too.
            Stage::Received if effect.is_some_and(|at| at < cut_to_second(code.issued_at)) => {
                Err(codes::INVALID_PARAMETER)
            }
            Stage::Received => Ok(()),
        }
    }

    /// The merchant activates; the validity counts from now or from the effect time named.
    pub(super) fn activate(
        &mut self,
        license: &str,
        effect: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<&Code, Known> {
        self.may_activate(license, effect)?;
        let code = self.codes.get_mut(license).ok_or(codes::UNKNOWN_LICENSE)?;
        let start = effect.unwrap_or(now);
        if !code.end_fixed {
            code.expires_at = code.expires_at.plus_ms(start.ms_since(code.issued_at));
            code.end_fixed = true;
        }
        (code.stage, code.activated_at) = (Stage::Activated, Some(start));
        Ok(code)
    }

    /// What the query knows (protocol.md 2.4).
    pub(super) fn ask(&self, license: &str) -> Result<&Code, Known> {
        let code = self.codes.get(license).ok_or(codes::UNKNOWN_LICENSE)?;
        match code.stage {
            Stage::Issued | Stage::Received => Err(codes::NOT_ACTIVATED),
            Stage::Activated | Stage::Released => Ok(code),
        }
    }

    /// The buyer renews; if the code was frozen after its end, that thaws it too (protocol.md 1.1 rows 6 and 11).
    pub(super) fn renew(
        &mut self,
        license: &str,
        end: NewEnd,
        product_id: Option<&str>,
        ids: &mut Random,
        now: Timestamp,
    ) -> Result<Vec<Message>, Refused> {
        let code = self.live(license)?;
        let new_end = match end {
            NewEnd::Add(ms) => code.expires_at.max(now).plus_ms(ms),
            NewEnd::At(at) => at,
        };
        let product = product_id.unwrap_or(&code.product_id).to_owned();
        let order = self.place(OrderKind::Renew, &product, new_end, ids, now);
        let code = self.live(license)?;
        // A freeze for a violation, before the end, is not lifted by paying.
        let thaws = code.frozen_at.is_some_and(|since| since >= code.expires_at);
        let added_ms = new_end.ms_since(code.expires_at);
        code.renewals.push(Renewal { order: order.clone(), added_ms });
        (code.expires_at, code.end_fixed, code.product_id) = (new_end, true, product);
        let mut messages = vec![Message::refresh(
            Scene::Renewal,
            license,
            &order,
            product_id,
            code.expire_text(),
            TestFlag::Real,
        )];
        if thaws {
            code.frozen_at = None;
            messages.push(Message::status(license, false, TestFlag::Real));
        }
        Ok(messages)
    }

    /// The buyer gives the last renewal back, or the end moves to exactly `end`.
    pub(super) fn unrenew(
        &mut self,
        license: &str,
        end: Option<Timestamp>,
        ids: &mut Random,
        now: Timestamp,
    ) -> Result<Vec<Message>, Refused> {
        let code = self.live(license)?;
        let last = code.renewals.pop();
        let new_end = match (end, last) {
            (Some(at), _) => at,
            (None, Some(renewal)) => code.expires_at.plus_ms(-renewal.added_ms),
            (None, None) => return Err(Refused::NoRenewal(license.to_owned())),
        };
        (code.expires_at, code.end_fixed) = (new_end, true);
        let product = code.product_id.clone();
        let order = self.place(OrderKind::Unsubscribe, &product, new_end, ids, now);
        let text = DateText::from_utc(new_end);
        let message =
            Message::refresh(Scene::Unrenewal, license, &order, None, text, TestFlag::Real);
        Ok(vec![message])
    }

    /// The marketplace freezes: past the grace period, or for a violation.
    pub(super) fn freeze(
        &mut self,
        license: &str,
        now: Timestamp,
    ) -> Result<Vec<Message>, Refused> {
        let code = self.live(license)?;
        if code.frozen_at.is_some() {
            return Err(Refused::AlreadySo(license.to_owned(), "frozen"));
        }
        code.frozen_at = Some(now);
        Ok(vec![Message::status(license, true, TestFlag::Real)])
    }

    /// The marketplace lifts a freeze.
    pub(super) fn unfreeze(&mut self, license: &str) -> Result<Vec<Message>, Refused> {
        let code = self.live(license)?;
        if code.frozen_at.take().is_none() {
            return Err(Refused::AlreadySo(license.to_owned(), "not frozen"));
        }
        Ok(vec![Message::status(license, false, TestFlag::Real)])
    }

    /// The buyer gets the money back: the code is over, and the call names the refund's order.
    pub(super) fn refund(
        &mut self,
        license: &str,
        ids: &mut Random,
        now: Timestamp,
    ) -> Result<Vec<Message>, Refused> {
        let product = self.live(license)?.product_id.clone();
        let order = self.place(OrderKind::Unsubscribe, &product, now, ids, now);
        self.live(license)?.stage = Stage::Released;
        Ok(vec![Message::release(license, Some(&order), TestFlag::Real)])
    }

    /// The retention period is over: the code is released without an order.
    pub(super) fn release(&mut self, license: &str) -> Result<Vec<Message>, Refused> {
        self.live(license)?.stage = Stage::Released;
        Ok(vec![Message::release(license, None, TestFlag::Real)])
    }

    /// The end comes at once; nobody is told (protocol.md 1.1 row 8).
    pub(super) fn expire(&mut self, license: &str, now: Timestamp) -> Result<(), Refused> {
        let code = self.live(license)?;
        (code.expires_at, code.end_fixed) = (code.expires_at.min(now), true);
        Ok(())
    }

    /// What the clock alone does: freezes `grace` after the end, releases `retention` after the freeze.
    /// A zero duration switches that off.
    pub(super) fn pass_time(
        &mut self,
        grace: Duration,
        retention: Duration,
        now: Timestamp,
    ) -> Vec<Message> {
        let mut messages = Vec::new();
        for code in self.codes.values_mut().filter(|code| code.stage == Stage::Activated) {
            match code.frozen_at {
                None if !grace.is_zero() && now >= code.expires_at + grace => {
                    code.frozen_at = Some(now);
                    messages.push(Message::status(&code.license, true, TestFlag::Real));
                }
                Some(since)
                    if !retention.is_zero()
                        && since >= code.expires_at
                        && now >= since + retention =>
                {
                    code.stage = Stage::Released;
                    messages.push(Message::release(&code.license, None, TestFlag::Real));
                }
                None | Some(_) => {}
            }
        }
        messages
    }

    /// The code of this name.
    pub(super) fn code(&self, license: &str) -> Option<&Code> {
        self.codes.get(license)
    }

    /// The codes after `after` in the order of their names.
    pub(super) fn codes_after(&self, after: &str) -> impl Iterator<Item = &Code> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.codes.range::<str, _>((Excluded(after), Unbounded)).map(|(_, code)| code)
    }

    /// How many codes there are.
    pub(super) fn size(&self) -> usize {
        self.codes.len()
    }

    /// The order of this number.
    pub(super) fn order(&self, order_id: &str) -> Option<&Order> {
        self.orders.get(order_id)
    }

    fn live(&mut self, license: &str) -> Result<&mut Code, Refused> {
        let code = self.codes.get_mut(license);
        let code = code.ok_or_else(|| Refused::Unknown(license.to_owned()))?;
        if code.stage == Stage::Released {
            return Err(Refused::Released(license.to_owned()));
        }
        Ok(code)
    }

    fn free_license(&self, asked: Option<String>, ids: &mut Random) -> Result<String, Refused> {
        if let Some(license) = asked {
            license::Code::parse(&license).map_err(Refused::BadLicense)?;
            if self.codes.contains_key(&license) {
                return Err(Refused::Exists(license));
            }
            return Ok(license);
        }
        loop {
            let license = ids.license();
            if !self.codes.contains_key(&license) {
                return Ok(license);
            }
        }
    }

    fn place(
        &mut self,
        kind: OrderKind,
        product_id: &str,
        expires_at: Timestamp,
        ids: &mut Random,
        now: Timestamp,
    ) -> OrderRef {
        let line = OrderRef::first_line(ids.order_id(now));
        let product_id = product_id.to_owned();
        let order = Order { line: line.clone(), kind, product_id, created_at: now, expires_at };
        self.orders.insert(line.order_id.clone(), order);
        line
    }
}

fn cut_to_second(at: Timestamp) -> Timestamp {
    Timestamp::from_ms(at.as_ms().div_euclid(SECOND_MS) * SECOND_MS)
}

#[cfg(test)]
mod tests;
