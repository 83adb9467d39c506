//! The one transition table: every input of every source goes through [`decide`].
//!
//! The table is data ([`TABLE`]); a cell is a named rule, and each rule is written once below.
//! Invariant: [`decide`] never leaves [`State::Released`], and what it returns is all that changes.

use super::license::{Expiry, Freeze, License, MarketplaceStatus, OrderId, OrderLineId, Standing};
use super::outcome::ResultCode;
use super::state::{Live, State};
use super::time::{HOUR_MS, MINUTE_MS, Timestamp};
use std::fmt;

/// Something that happened to a code, from whatever side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The buyer has received the code: the operator or the software handed it to us.
    BuyerReceived,
    /// The marketplace answered an activation.
    Activation(ActivationAnswer),
    /// The marketplace answered a query.
    Query(QueryAnswer),
    /// Callback `refreshLicenseCode`, scene `RENEWAL`.
    Renewal(Refresh),
    /// Callback `refreshLicenseCode`, scene `UNSUBSCRIBE_RENEWAL_PERIOD`.
    Unrenewal(Refresh),
    /// Callback `updateLicenseCodeStatus`, status `FREEZE`, with its signed timestamp.
    Freeze {
        /// The `timestamp` of the signature.
        signed_at: Timestamp,
    },
    /// Callback `updateLicenseCodeStatus`, status `UNFREEZE`, with its signed timestamp.
    Unfreeze {
        /// The `timestamp` of the signature.
        signed_at: Timestamp,
    },
    /// Callback `releaseLicenseCode`, or an operator's release.
    Release {
        /// The refund's order, when a refund caused it.
        order_id: Option<OrderId>,
    },
}

/// The content of a `refreshLicenseCode` callback (protocol.md 4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// The order of this renewal or un-renewal.
    pub order_id: OrderId,
    /// Its line.
    pub order_line_id: OrderLineId,
    /// The new absolute expiry.
    pub expiry: Expiry,
    /// The new product, when the period type changed.
    pub product_id: Option<String>,
}

/// What the marketplace told of a code beside its status.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The expiry; only an estimate in an activation's answer (protocol.md 2.2).
    pub expiry: Option<Expiry>,
    /// The order, if given.
    pub order_id: Option<OrderId>,
    /// The product, if given.
    pub product_id: Option<String>,
}

/// An activation's answer, as far as it concerns the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivationAnswer {
    /// Our clock when the call left.
    pub asked_at: Timestamp,
    /// What was answered.
    pub verdict: ActivationVerdict,
}

/// See [`ActivationAnswer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActivationVerdict {
    /// 92020000.
    Done(Facts),
    /// 92020004.
    NotReceived,
    /// 92020003.
    IllegalState,
    /// 92020005.
    UnknownCode,
}

/// A query's answer, as far as it concerns the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryAnswer {
    /// Our clock when the call left.
    pub asked_at: Timestamp,
    /// What was answered.
    pub verdict: QueryVerdict,
}

/// See [`QueryAnswer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryVerdict {
    /// 92020000 with status `ALIVE`.
    Alive(Facts),
    /// 92020000 with status `EXPIRED`.
    Expired(Facts),
    /// 92020000 with status `RELEASED`.
    Released,
    /// 92020011.
    NotActivated,
    /// 92020005.
    UnknownCode,
}

/// The rows of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// [`Command::BuyerReceived`]
    BuyerReceived,
    /// [`ActivationVerdict::Done`]
    ActivateDone,
    /// [`ActivationVerdict::NotReceived`]
    ActivateNotReceived,
    /// [`ActivationVerdict::IllegalState`]
    ActivateIllegalState,
    /// [`ActivationVerdict::UnknownCode`], [`QueryVerdict::UnknownCode`]
    UnknownCode,
    /// [`QueryVerdict::NotActivated`]
    QueryNotActivated,
    /// [`QueryVerdict::Alive`]
    QueryAlive,
    /// [`QueryVerdict::Expired`]
    QueryExpired,
    /// [`QueryVerdict::Released`]
    QueryReleased,
    /// [`Command::Renewal`]
    Renewal,
    /// [`Command::Unrenewal`]
    Unrenewal,
    /// [`Command::Freeze`]
    Freeze,
    /// [`Command::Unfreeze`]
    Unfreeze,
    /// [`Command::Release`]
    Release,
}

impl Input {
    /// The row's heading.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BuyerReceived => "buyer received it (operator, software)",
            Self::ActivateDone => "activate 92020000",
            Self::ActivateNotReceived => "activate 92020004 not received",
            Self::ActivateIllegalState => "activate 92020003 illegal state",
            Self::UnknownCode => "activate/query 92020005 unknown",
            Self::QueryNotActivated => "query 92020011 not activated",
            Self::QueryAlive => "query ALIVE",
            Self::QueryExpired => "query EXPIRED",
            Self::QueryReleased => "query RELEASED",
            Self::Renewal => "RENEWAL",
            Self::Unrenewal => "UNSUBSCRIBE_RENEWAL_PERIOD",
            Self::Freeze => "FREEZE",
            Self::Unfreeze => "UNFREEZE",
            Self::Release => "release",
        }
    }
}

impl Command {
    /// The row this command is looked up in.
    #[must_use]
    pub const fn input(&self) -> Input {
        match self {
            Self::BuyerReceived => Input::BuyerReceived,
            Self::Activation(answer) => match answer.verdict {
                ActivationVerdict::Done(_) => Input::ActivateDone,
                ActivationVerdict::NotReceived => Input::ActivateNotReceived,
                ActivationVerdict::IllegalState => Input::ActivateIllegalState,
                ActivationVerdict::UnknownCode => Input::UnknownCode,
            },
            Self::Query(answer) => match answer.verdict {
                QueryVerdict::Alive(_) => Input::QueryAlive,
                QueryVerdict::Expired(_) => Input::QueryExpired,
                QueryVerdict::Released => Input::QueryReleased,
                QueryVerdict::NotActivated => Input::QueryNotActivated,
                QueryVerdict::UnknownCode => Input::UnknownCode,
            },
            Self::Renewal(_) => Input::Renewal,
            Self::Unrenewal(_) => Input::Unrenewal,
            Self::Freeze { .. } => Input::Freeze,
            Self::Unfreeze { .. } => Input::Unfreeze,
            Self::Release { .. } => Input::Release,
        }
    }

    const fn order_id(&self) -> Option<&OrderId> {
        match self {
            Self::Renewal(refresh) | Self::Unrenewal(refresh) => Some(&refresh.order_id),
            Self::Release { order_id } => order_id.as_ref(),
            Self::BuyerReceived
            | Self::Activation(_)
            | Self::Query(_)
            | Self::Freeze { .. }
            | Self::Unfreeze { .. } => None,
        }
    }
}

/// A rule of the table. Facts that come with the command are stored before; a cell says the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// No change.
    Stay,
    /// No change; facts of the row are stored (`RENEWAL`, `UNSUBSCRIBE…` before activation).
    Store,
    /// No change but the expiry.
    StoreExpiry,
    /// No change but the expiry, by callback.
    NewExpiry,
    /// No change; ask the marketplace, because the answer does not fit.
    StayAsk,
    /// No change; ask the marketplace at once.
    AskNow,
    /// No change; a contradiction is recorded.
    Alarm,
    /// The same, for the code unknown there.
    StayAlarm,
    /// No change; stop trying to activate; a contradiction is recorded.
    ParkAlarm,
    /// Refused: 409 to an operator.
    Refused,
    /// Refused: 000003 to the marketplace; a contradiction is recorded.
    RefusedAlarm,
    /// To received.
    Received,
    /// To received and at once to activated.
    ReceivedThenActivated,
    /// To activated.
    Activated,
    /// No change; try the activation again on the ladder.
    WaitForBuyer,
    /// Back to issued, which it should not have left; try again on the ladder.
    BackToIssued,
    /// A query's word for [`Cell::ReceivedThenActivated`].
    ReceivedActivated,
    /// To received, to activated, and its end is confirmed.
    ReceivedActivatedExpired,
    /// To activated, and its end is confirmed.
    ActivatedExpired,
    /// No change; its end is confirmed.
    Expired,
    /// Thaw if the freeze began at or after expiry, and the answer is newer and shows a later expiry.
    ThawIfPaid,
    /// To renewed.
    Renewed,
    /// Stay frozen, thaw to renewed later; ask now and once more.
    ThawsToRenewed,
    /// To activated when no renewal is left.
    ActivatedWhenNoneLeft,
    /// To frozen.
    Frozen,
    /// To the state the freeze interrupted.
    ThawBack,
    /// To released.
    Released,
}

impl Cell {
    /// The cell's text, as the contract prints it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stay => "—",
            Self::Store => "— store",
            Self::StoreExpiry => "— store expiry",
            Self::NewExpiry => "— new expiry",
            Self::StayAsk => "— (ask)",
            Self::AskNow => "— ask now",
            Self::Alarm => "alarm",
            Self::StayAlarm => "— alarm",
            Self::ParkAlarm => "— park, alarm",
            Self::Refused => "refused",
            Self::RefusedAlarm => "000003, alarm",
            Self::Received => "received",
            Self::ReceivedThenActivated => "received, then activated (two events)",
            Self::Activated => "activated",
            Self::WaitForBuyer => "— wait for buyer",
            Self::BackToIssued => "**issued** (correction), wait",
            Self::ReceivedActivated => "received, activated",
            Self::ReceivedActivatedExpired => "received, activated; expired",
            Self::ActivatedExpired => "activated; expired",
            Self::Expired => "— expired",
            Self::ThawIfPaid => "thaw only if §3.1",
            Self::Renewed => "renewed",
            Self::ThawsToRenewed => "— new expiry, thaws to renewed; ask now",
            Self::ActivatedWhenNoneLeft => "activated when no renewal is left, else —",
            Self::Frozen => "frozen",
            Self::ThawBack => "the state it came from",
            Self::Released => "released",
        }
    }
}

/// The table: one row per input, one column per state in the order of [`State::ALL`].
#[rustfmt::skip]
pub const TABLE: [(Input, [Cell; 6]); 14] = {
    use Cell::{
        ActivatedExpired, ActivatedWhenNoneLeft, Activated, Alarm, AskNow, BackToIssued, Expired, Frozen,
        NewExpiry, ParkAlarm, Received, ReceivedActivated, ReceivedActivatedExpired, ReceivedThenActivated,
        Refused, RefusedAlarm, Released, Renewed, Stay, StayAlarm, StayAsk, Store, StoreExpiry, ThawBack,
        ThawIfPaid, ThawsToRenewed, WaitForBuyer,
    };
    [
        //                              issued                    received          activated    renewed                frozen          released
        (Input::BuyerReceived,        [Received,                 Stay,             Stay,        Stay,                  Stay,           Refused]),
        (Input::ActivateDone,         [ReceivedThenActivated,    Activated,        Stay,        Stay,                  StayAsk,        Alarm]),
        (Input::ActivateNotReceived,  [WaitForBuyer,             BackToIssued,     Alarm,       Alarm,                 Alarm,          Stay]),
        (Input::ActivateIllegalState, [AskNow,                   AskNow,           AskNow,      AskNow,                AskNow,         Stay]),
        (Input::UnknownCode,          [ParkAlarm,                ParkAlarm,        StayAlarm,   StayAlarm,             StayAlarm,      Stay]),
        (Input::QueryNotActivated,    [Stay,                     Stay,             Alarm,       Alarm,                 Alarm,          Stay]),
        (Input::QueryAlive,           [ReceivedActivated,        Activated,        StoreExpiry, StoreExpiry,           ThawIfPaid,     Alarm]),
        (Input::QueryExpired,         [ReceivedActivatedExpired, ActivatedExpired, Expired,     Expired,               Expired,        Stay]),
        (Input::QueryReleased,        [Released,                 Released,         Released,    Released,              Released,       Stay]),
        (Input::Renewal,              [StoreExpiry,              StoreExpiry,      Renewed,     NewExpiry,             ThawsToRenewed, RefusedAlarm]),
        (Input::Unrenewal,            [Store,                    Store,            NewExpiry,   ActivatedWhenNoneLeft, NewExpiry,      RefusedAlarm]),
        (Input::Freeze,               [Frozen,                   Frozen,           Frozen,      Frozen,                Stay,           Stay]),
        (Input::Unfreeze,             [Stay,                     Stay,             Stay,        Stay,                  ThawBack,       RefusedAlarm]),
        (Input::Release,              [Released,                 Released,         Released,    Released,              Released,       Stay]),
    ]
};

/// The rule for an input in a state.
#[must_use]
pub fn cell(input: Input, state: State) -> Cell {
    TABLE[input as usize].1[state as usize]
}

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words are the vocabulary of product.md §6")]
pub enum EventKind {
    Registered,
    Received,
    Activated,
    ActivationWaiting,
    ActivationFailed,
    Renewed,
    Unrenewed,
    Frozen,
    Thawed,
    Released,
    Expired,
    Observed,
    Repaired,
    Stale,
    Orphan,
    Adopted,
    Contradiction,
    Probe,
    Job,
    Alarm,
    Operator,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 21] = [
        Self::Registered,
        Self::Received,
        Self::Activated,
        Self::ActivationWaiting,
        Self::ActivationFailed,
        Self::Renewed,
        Self::Unrenewed,
        Self::Frozen,
        Self::Thawed,
        Self::Released,
        Self::Expired,
        Self::Observed,
        Self::Repaired,
        Self::Stale,
        Self::Orphan,
        Self::Adopted,
        Self::Contradiction,
        Self::Probe,
        Self::Job,
        Self::Alarm,
        Self::Operator,
    ];

    /// The word used in columns, JSON, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Received => "received",
            Self::Activated => "activated",
            Self::ActivationWaiting => "activation_waiting",
            Self::ActivationFailed => "activation_failed",
            Self::Renewed => "renewed",
            Self::Unrenewed => "unrenewed",
            Self::Frozen => "frozen",
            Self::Thawed => "thawed",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Observed => "observed",
            Self::Repaired => "repaired",
            Self::Stale => "stale",
            Self::Orphan => "orphan",
            Self::Adopted => "adopted",
            Self::Contradiction => "contradiction",
            Self::Probe => "probe",
            Self::Job => "job",
            Self::Alarm => "alarm",
            Self::Operator => "operator",
        }
    }
}

/// Where a command came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words are the vocabulary of product.md §6")]
pub enum Source {
    Callback,
    Activation,
    Query,
    Operator,
    Software,
    Timer,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 6] = [
        Self::Callback,
        Self::Activation,
        Self::Query,
        Self::Operator,
        Self::Software,
        Self::Timer,
    ];

    /// The word used in columns, JSON, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Callback => "callback",
            Self::Activation => "activation",
            Self::Query => "query",
            Self::Operator => "operator",
            Self::Software => "software",
            Self::Timer => "timer",
        }
    }
}

/// An event to be appended to the log in the same transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDraft {
    /// What happened.
    pub kind: EventKind,
    /// The state before, when a state is concerned.
    pub from: Option<State>,
    /// The state after, when a state is concerned.
    pub to: Option<State>,
    /// The order concerned.
    pub order_id: Option<OrderId>,
    /// The code the marketplace or we answered.
    pub result_code: Option<String>,
    /// For people.
    pub detail: String,
}

impl EventDraft {
    /// An event of `kind` that changes no state.
    #[must_use]
    pub fn note(kind: EventKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            from: None,
            to: None,
            order_id: None,
            result_code: None,
            detail: detail.into(),
        }
    }
}

/// Follow-up work, committed with the change that asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Query the marketplace at this time, or earlier if an earlier query is owed already.
    Ask(Timestamp),
    /// Query the marketplace once more at this time, besides any earlier query.
    AskAgain(Timestamp),
    /// Try the activation at this time.
    Activate(Timestamp),
    /// Owe no activation any more.
    DropActivation,
}

/// What is to be done; all of it in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The row as it shall be.
    pub license: License,
    /// What to append to the log, in order.
    pub events: Vec<EventDraft>,
    /// What is owed next.
    pub effects: Vec<Effect>,
    /// The command was older than one already applied, and changed nothing.
    pub stale: bool,
}

/// Why a command is refused. The row does not change, but the event is appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What to append to the log; `None` when the caller's own answer says it all.
    pub event: Option<EventDraft>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the code is released, and nothing revives it")
    }
}

impl std::error::Error for Refusal {}

/// How long to wait after the n-th 92020004 before asking again (product.md §3.2); the last repeats.
pub const BUYER_LADDER_MS: [i64; 6] =
    [10 * MINUTE_MS, 30 * MINUTE_MS, HOUR_MS, 2 * HOUR_MS, 4 * HOUR_MS, 6 * HOUR_MS];

/// A renewal on a frozen code is asked again after this time (product.md §3.1).
pub const FROZEN_RENEWAL_ASK_MS: i64 = 5 * MINUTE_MS;

/// Decides what `command` does to `license` at `now`. Pure; the caller performs the decision.
///
/// # Errors
/// [`Refusal`] where the table says `refused` or `000003`.
pub fn decide(license: &License, command: &Command, now: Timestamp) -> Result<Decision, Refusal> {
    let mut step = Step::new(license, command, now);
    if let Some(decision) = step.take_notice() {
        return Ok(decision);
    }
    step.apply(cell(command.input(), license.state()))
}

/// A decision in the making.
struct Step<'a> {
    before: &'a License,
    command: &'a Command,
    now: Timestamp,
    after: License,
    events: Vec<EventDraft>,
    effects: Vec<Effect>,
}

impl<'a> Step<'a> {
    fn new(before: &'a License, command: &'a Command, now: Timestamp) -> Self {
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
    fn take_notice(&mut self) -> Option<Decision> {
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

    fn apply(mut self, cell: Cell) -> Result<Decision, Refusal> {
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

#[cfg(test)]
mod tests;
