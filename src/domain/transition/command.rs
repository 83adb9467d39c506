//! What can happen to a code, from whatever side, and the row of the table it is looked up in.

use crate::domain::license::{Expiry, OrderId, OrderLineId};
use crate::domain::time::Timestamp;

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

    pub(super) const fn order_id(&self) -> Option<&OrderId> {
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
