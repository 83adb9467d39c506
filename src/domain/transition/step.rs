//! The rules, each written once: from the row before and a command to the row after, its events and what is
//! owed next.

use super::{
    ActivationAnswer, ActivationVerdict, BUYER_LADDER_MS, Cell, Command, Decision, Effect,
    EventDraft, EventKind, FROZEN_RENEWAL_ASK_MS, Facts, QueryAnswer, QueryVerdict, Refresh,
    Refusal,
};
use crate::domain::license::{Expiry, Freeze, License, MarketplaceStatus, Standing};
use crate::domain::outcome::ResultCode;
use crate::domain::state::{Live, State};
use crate::domain::time::Timestamp;

/// A decision in the making.
pub(super) struct Step<'a> {
    before: &'a License,
    command: &'a Command,
    now: Timestamp,
    after: License,
    events: Vec<EventDraft>,
    effects: Vec<Effect>,
}

impl<'a> Step<'a> {
    pub(super) fn new(before: &'a License, command: &'a Command, now: Timestamp) -> Self {
        Self {
            before,
            command,
            now,
            after: before.clone(),
            events: Vec::new(),
            effects: Vec::new(),
        }
    }

    fn done(self, stale: bool) -> Decision {
        Decision { license: self.after, events: self.events, effects: self.effects, stale }
    }

    fn note(&mut self, kind: EventKind, detail: impl Into<String>) {
        let mut event = EventDraft::note(kind, detail);
        event.order_id = self.command.order_id().cloned();
        self.events.push(event);
    }

    /// Moves to `standing` and appends the event that says so.
    fn go(&mut self, kind: EventKind, standing: Standing, detail: impl Into<String>) {
        let from = self.after.state();
        self.after.standing = standing;
        self.events.push(EventDraft {
            kind,
            from: Some(from),
            to: Some(self.after.state()),
            order_id: self.command.order_id().cloned(),
            result_code: None,
            detail: detail.into(),
        });
    }

    /// Stores what is a fact whatever the state. A decision here means: too old to be applied.
    pub(super) fn take_notice(&mut self) -> Option<Decision> {
        match self.command {
            Command::Freeze { signed_at } | Command::Unfreeze { signed_at } => {
                if let Some(last) = self.before.status_signed_at.filter(|last| signed_at < last) {
                    let detail = format!(
                        "{} signed at {signed_at} is older than the one applied, signed at {last}",
                        self.command.input().as_str()
                    );
                    self.note(EventKind::Stale, detail);
                    return Some(self.take().done(true));
                }
                self.after.status_signed_at = Some(*signed_at);
                self.after.callback_at = Some(self.now);
            }
            Command::Renewal(_) | Command::Unrenewal(_) | Command::Release { .. } => {
                self.after.callback_at = Some(self.now);
            }
            Command::Query(answer) => return self.take_notice_of_query(answer),
            Command::Activation(answer) => self.take_notice_of_activation(answer),
            Command::BuyerReceived => {}
        }
        None
    }

    fn take_notice_of_query(&mut self, answer: &QueryAnswer) -> Option<Decision> {
        if self.overtaken(answer.asked_at) && answer.verdict != QueryVerdict::Released {
            // A callback arrived while the question was under way: the answer may be older than it.
            self.effects.push(Effect::Ask(self.now));
            return Some(self.take().done(true));
        }
        let status = match &answer.verdict {
            QueryVerdict::Alive(_) => MarketplaceStatus::Alive,
            QueryVerdict::Expired(_) => MarketplaceStatus::Expired,
            QueryVerdict::Released => MarketplaceStatus::Released,
            QueryVerdict::NotActivated | QueryVerdict::UnknownCode => MarketplaceStatus::Unknown,
        };
        self.after.marketplace_status = status;
        self.after.marketplace_checked_at = Some(answer.asked_at);
        self.after.ask_failed_at = None;
        match &answer.verdict {
            QueryVerdict::Alive(facts) | QueryVerdict::Expired(facts) => {
                self.after.last_error_code = None;
                self.learn_purchase(facts);
            }
            QueryVerdict::Released => self.after.last_error_code = None,
            QueryVerdict::NotActivated => self.after.last_error_code = Some("92020011".to_owned()),
            QueryVerdict::UnknownCode => self.after.last_error_code = Some("92020005".to_owned()),
        }
        None
    }

    /// A callback came after the question left. One from the future tells of a clock that was set
    /// back, and orders nothing.
    fn overtaken(&self, asked_at: Timestamp) -> bool {
        self.before.callback_at.is_some_and(|at| asked_at <= at && at <= self.now)
    }

    fn take_notice_of_activation(&mut self, answer: &ActivationAnswer) {
        self.after.last_error_code = match &answer.verdict {
            ActivationVerdict::Done(facts) => {
                self.learn_purchase(facts);
                None
            }
            ActivationVerdict::NotReceived => Some("92020004".to_owned()),
            ActivationVerdict::IllegalState => Some("92020003".to_owned()),
            ActivationVerdict::UnknownCode => Some("92020005".to_owned()),
        };
    }

    fn learn_purchase(&mut self, facts: &Facts) {
        if self.after.order_id.is_none() {
            self.after.order_id.clone_from(&facts.order_id);
        }
        if facts.product_id.is_some() {
            self.after.product_id.clone_from(&facts.product_id);
        }
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(self.before, self.command, self.now))
    }

    pub(super) fn apply(mut self, cell: Cell) -> Result<Decision, Refusal> {
        match cell {
            Cell::Stay => self.stay(),
            Cell::Store | Cell::StoreExpiry | Cell::NewExpiry => self.store_expiry(),
            Cell::StayAsk => {
                self.after.activated_at.get_or_insert(self.now);
                self.effects.extend([Effect::DropActivation, Effect::Ask(self.now)]);
            }
            Cell::AskNow => self.effects.push(Effect::Ask(self.now)),
            Cell::Alarm | Cell::StayAlarm => self.contradiction(),
            Cell::ParkAlarm => {
                self.contradiction();
                self.effects.push(Effect::DropActivation);
            }
            Cell::Refused => return Err(Refusal { event: None }),
            Cell::RefusedAlarm => {
                self.contradiction();
                let mut event = self.events.pop();
                if let Some(event) = &mut event {
                    event.result_code = Some(ResultCode::UnknownCode.as_str().to_owned());
                }
                return Err(Refusal { event });
            }
            Cell::Received => self.receive(),
            Cell::ReceivedThenActivated | Cell::ReceivedActivated => {
                self.receive();
                self.activate();
            }
            Cell::Activated => self.activate(),
            Cell::ReceivedActivatedExpired => {
                self.receive();
                self.activate();
                self.confirm_end();
            }
            Cell::ActivatedExpired => {
                self.activate();
                self.confirm_end();
            }
            Cell::Expired => {
                self.store_expiry();
                self.confirm_end();
            }
            Cell::WaitForBuyer => self.wait_for_buyer(),
            Cell::BackToIssued => {
                let detail = "the marketplace says the buyer has not received the code yet";
                self.go(EventKind::Repaired, Standing::Live(Live::Issued), detail);
                self.wait_for_buyer();
            }
            Cell::ThawIfPaid => self.thaw_if_paid(),
            Cell::Renewed => {
                self.go(EventKind::Renewed, Standing::Live(Live::Renewed), "");
                self.store_expiry();
            }
            Cell::ThawsToRenewed => {
                self.store_expiry();
                let later = self.now.plus_ms(FROZEN_RENEWAL_ASK_MS);
                self.effects.extend([Effect::Ask(self.now), Effect::AskAgain(later)]);
            }
            Cell::ActivatedWhenNoneLeft => {
                if self.before.renewals_in_force <= 1 {
                    let detail = "no renewal is left";
                    self.go(EventKind::Unrenewed, Standing::Live(Live::Activated), detail);
                }
                self.store_expiry();
            }
            Cell::Frozen => self.freeze(),
            Cell::ThawBack => self.thaw("the freeze was lifted"),
            Cell::Released => {
                self.go(EventKind::Released, Standing::Released, "");
                self.effects.push(Effect::DropActivation);
            }
        }
        Ok(self.done(false))
    }

    fn stay(&mut self) {
        match self.command {
            Command::Activation(ActivationAnswer {
                verdict: ActivationVerdict::Done(_), ..
            }) => {
                self.effects.push(Effect::DropActivation);
            }
            Command::Activation(_) if self.before.state() == State::Released => {
                self.effects.push(Effect::DropActivation);
            }
            _ => {}
        }
    }

    fn receive(&mut self) {
        self.go(EventKind::Received, Standing::Live(Live::Received), "");
    }

    /// Activation is confirmed. A renewal that was stored before counts (product.md §9).
    fn activate(&mut self) {
        self.after.activated_at.get_or_insert(self.now);
        self.after.buyer_waits = 0;
        self.go(EventKind::Activated, Standing::Live(Live::Activated), "");
        if self.after.renewals_in_force > 0 {
            let detail = "a renewal came before the activation";
            self.go(EventKind::Renewed, Standing::Live(Live::Renewed), detail);
        }
        self.store_expiry();
        self.effects.push(Effect::DropActivation);
        if matches!(self.command, Command::Activation(_)) {
            // The answer's expiry is only an estimate (protocol.md 2.2).
            self.effects.push(Effect::Ask(self.now));
        }
    }

    /// Stores the expiry that came with the command, and what follows from it.
    fn store_expiry(&mut self) {
        match self.command {
            Command::Renewal(refresh) => {
                self.after.renewals_in_force = self.before.renewals_in_force.saturating_add(1);
                self.refresh(refresh, EventKind::Renewed);
            }
            Command::Unrenewal(refresh) => {
                self.after.renewals_in_force = self.before.renewals_in_force.saturating_sub(1);
                self.refresh(refresh, EventKind::Unrenewed);
            }
            Command::Activation(ActivationAnswer {
                asked_at,
                verdict: ActivationVerdict::Done(facts),
            }) => {
                if let Some(expiry) = facts.expiry.filter(|_| !self.overtaken(*asked_at)) {
                    self.after.expiry = Some(expiry);
                }
            }
            Command::Query(QueryAnswer {
                verdict: QueryVerdict::Alive(facts) | QueryVerdict::Expired(facts),
                ..
            }) => {
                if let Some(expiry) = facts.expiry {
                    self.observe_expiry(expiry);
                }
                if self.after.marketplace_status == MarketplaceStatus::Alive {
                    self.after.end_confirmed_at = None;
                }
            }
            _ => {}
        }
    }

    /// A callback set a new absolute expiry.
    fn refresh(&mut self, refresh: &Refresh, kind: EventKind) {
        let shortened_renewal = kind == EventKind::Renewed
            && self.before.expiry.is_some_and(|old| refresh.expiry.at < old.at);
        self.after.expiry = Some(refresh.expiry);
        if refresh.product_id.is_some() {
            self.after.product_id.clone_from(&refresh.product_id);
        }
        if refresh.expiry.latest() > self.now {
            self.after.end_confirmed_at = None;
        } else if kind == EventKind::Unrenewed {
            // An authentic un-renewal whose end has passed confirms the end (product.md §9).
            self.after.end_confirmed_at = Some(self.now);
        }
        if shortened_renewal {
            // A renewal extends; one that shortens has probably been overtaken by a later one.
            self.effects.push(Effect::Ask(self.now));
        }
        let detail = format!("valid until {} (no zone given)", refresh.expiry.text);
        match self.events.last_mut() {
            Some(moved) if moved.kind == kind => moved.detail = detail,
            _ => self.note(kind, detail),
        }
    }

    fn observe_expiry(&mut self, expiry: Expiry) {
        match self.before.expiry {
            Some(old) if old.text == expiry.text => {}
            Some(old) => {
                let detail = format!(
                    "expiry {} here, {} at the marketplace: taken over",
                    old.text, expiry.text
                );
                self.note(EventKind::Repaired, detail);
            }
            None => self
                .note(EventKind::Observed, format!("valid until {} (no zone given)", expiry.text)),
        }
        self.after.expiry = Some(expiry);
    }

    fn confirm_end(&mut self) {
        if self.after.end_confirmed_at.is_none() {
            self.after.end_confirmed_at = Some(self.now);
            self.note(EventKind::Expired, "the marketplace says the code has expired");
        }
    }

    fn wait_for_buyer(&mut self) {
        let last = BUYER_LADDER_MS.len() - 1;
        let rung = usize::try_from(self.before.buyer_waits).map_or(last, |n| n.min(last));
        let at = self.now.plus_ms(BUYER_LADDER_MS[rung]);
        self.after.buyer_waits = self.before.buyer_waits.saturating_add(1);
        self.effects.push(Effect::Activate(at));
        let detail = format!("waiting until the buyer receives the code; next try at {at}");
        self.note(EventKind::ActivationWaiting, detail);
        if let Some(event) = self.events.last_mut() {
            event.result_code = Some("92020004".to_owned());
        }
    }

    fn freeze(&mut self) {
        let (Standing::Live(from), Command::Freeze { signed_at }) =
            (self.before.standing, self.command)
        else {
            return;
        };
        let freeze = Freeze {
            since: *signed_at,
            applied_at: self.now,
            from,
            expiry_then: self.before.expiry.map(|expiry| expiry.at),
        };
        self.go(EventKind::Frozen, Standing::Frozen(freeze), "");
        self.effects.push(Effect::Ask(self.now));
    }

    fn thaw(&mut self, detail: &str) {
        let Standing::Frozen(freeze) = self.before.standing else {
            return;
        };
        let to = if self.after.activated_at.is_none() {
            freeze.from
        } else if self.after.renewals_in_force > 0 {
            Live::Renewed
        } else {
            Live::Activated
        };
        self.go(EventKind::Thawed, Standing::Live(to), detail);
        if self.after.expiry.is_some_and(|expiry| expiry.latest() > self.now) {
            self.after.end_confirmed_at = None;
        }
        if matches!(self.command, Command::Unfreeze { .. }) {
            self.effects.push(Effect::Ask(self.now));
        }
    }

    /// Only an unpaid end is thawed by a query: a violation ends by UNFREEZE (product.md §3.1).
    fn thaw_if_paid(&mut self) {
        let (
            Standing::Frozen(freeze),
            Command::Query(QueryAnswer { asked_at, verdict: QueryVerdict::Alive(facts) }),
        ) = (self.before.standing, self.command)
        else {
            return;
        };
        self.after.activated_at.get_or_insert(self.now);
        self.store_expiry();
        let newer = *asked_at > freeze.applied_at;
        let later = match (facts.expiry, freeze.expiry_then) {
            (Some(shown), Some(then)) => shown.at > then,
            _ => false,
        };
        if freeze.after_expiry() && newer && later {
            self.thaw("the marketplace says the code is alive again, with a later expiry");
        }
    }

    fn contradiction(&mut self) {
        let detail = format!(
            "{} does not fit state {}: nothing was changed; compare with the seller's console",
            self.command.input().as_str(),
            self.before.state()
        );
        self.note(EventKind::Contradiction, detail);
        let shown = match self.command {
            Command::Activation(_) | Command::Query(_) => self.after.last_error_code.clone(),
            _ => None,
        };
        if let Some(event) = self.events.last_mut() {
            event.result_code = shown;
        }
    }
}
