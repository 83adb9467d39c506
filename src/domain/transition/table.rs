//! The table: a rule for each input in each state.

use super::command::Input;
use crate::domain::state::State;

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
