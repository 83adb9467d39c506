//! The words of a story: who does what, and what is expected.
//!
//! Invariant: each step is one table with one of the keys `buyer`, `marketplace`, `merchant`, `wait` and
//! `expect`; a key nobody knows is an error. A step without `code` is about the code bought last.

use super::length::Length;
use crate::simulator::faults::On;
use serde::Deserialize;

/// One step.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// The line of the file in which it begins, from 1.
    pub line: usize,
    /// The step on one line.
    pub text: String,
    /// What is to be done or expected.
    pub what: What,
}

/// What is to be done or expected.
#[derive(Debug, Clone)]
pub(super) enum What {
    /// The buyer acts.
    Buyer(Buyer),
    /// The marketplace acts.
    Marketplace(Marketplace),
    /// The merchant's staff acts.
    Merchant(Merchant),
    /// Time passes.
    Wait(Length),
    /// Something must be so.
    Expect(Expect),
}

/// `buyer = "…"`
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "buyer", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Buyer {
    /// Orders and pays (protocol.md 1.1 row 1).
    Purchase {
        /// What the story calls the code; `A` if nothing else is said.
        code: Option<String>,
        validity: Option<Length>,
        product: Option<String>,
        amount: Option<u32>,
        /// Receives it at once.
        #[serde(default)]
        received: bool,
        /// The marketplace sends an order notification (protocol.md 4.6).
        #[serde(default)]
        notify: bool,
    },
    /// Confirms the receipt, 领取 (row 2).
    Receive { code: Option<String> },
    /// Gives the code to the merchant (row 3).
    HandOver { code: Option<String> },
    /// Renews (row 6), `by` so much or until `end`.
    Renew {
        code: Option<String>,
        by: Option<Length>,
        end: Option<String>,
        product: Option<String>,
        /// The call about it is lost.
        #[serde(default)]
        silent: bool,
        /// Where it thaws a code, the UNFREEZE is told before the renewal.
        #[serde(default)]
        reversed: bool,
    },
    /// Gives the last renewal back (row 7).
    Unrenew {
        code: Option<String>,
        end: Option<String>,
        #[serde(default)]
        silent: bool,
    },
    /// Returns the purchase (row 12).
    Refund {
        code: Option<String>,
        #[serde(default)]
        silent: bool,
    },
}

/// `marketplace = "…"`
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "marketplace", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Marketplace {
    /// The end of the code is now; nobody is told (row 8).
    Expire { code: Option<String> },
    /// Freezes (row 9).
    Freeze {
        code: Option<String>,
        #[serde(default)]
        silent: bool,
    },
    /// Lifts a freeze (row 11).
    Unfreeze {
        code: Option<String>,
        #[serde(default)]
        silent: bool,
    },
    /// Releases after the retention period (row 12).
    Release {
        code: Option<String>,
        #[serde(default)]
        silent: bool,
    },
    /// Sends any call, once. `<A>` in it becomes the code that the story calls A.
    Send {
        /// A table is sent as compact JSON, a text as it is.
        body: toml::Value,
        /// Sets `testFlag`.
        test: Option<bool>,
        signature: Option<Signature>,
        /// The call is signed so long ago.
        signed_ago: Option<Length>,
        /// The merchant's clock is so far behind.
        signed_ahead: Option<Length>,
        nonce: Option<String>,
    },
    /// Sends the last call again, signed anew.
    Repeat,
    /// Dials: the five saved debug cases (protocol.md 6).
    DialTest,
    /// From now on calls of this kind go wrong.
    Fault {
        on: On,
        fault: String,
        code: Option<String>,
        times: Option<u32>,
        probability: Option<f64>,
    },
    /// Nothing goes wrong any more.
    ClearFaults,
    /// Locks the merchant's access key for five minutes (protocol.md 2.9).
    LockKey,
    /// Opens it again.
    UnlockKey,
}

/// How a call is signed when not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Signature {
    /// One digit is wrong.
    Damaged,
    /// With a key that was never bound.
    WrongKey,
    /// With the key before the present one.
    OldKey,
}

/// `merchant = "…"`
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "merchant", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Merchant {
    /// Restarts the failed calls about the code in the seller's console (protocol.md 4.5).
    RestartFailedCalls { code: Option<String> },
    /// Has the marketplace asked about the code.
    Query { code: Option<String> },
    /// Has the code activated.
    Activate { code: Option<String> },
}

/// `expect = "…"`
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "expect", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Expect {
    /// Each call that the last act caused was answered so.
    Reply {
        /// The `resultCode`; `000000` if nothing else is said, and then the whole rule of
        /// protocol.md 4.1 holds.
        result: Option<String>,
        /// The HTTP status.
        http: Option<u16>,
        /// Only calls of this activity.
        activity: Option<String>,
        /// Which attempt was answered so; the first if nothing else is said.
        attempt: Option<usize>,
        within: Option<Length>,
    },
    /// The calls that the last act caused are in the list of failed calls.
    FailedCall {
        /// After so many attempts each.
        attempts: Option<usize>,
        within: Option<Length>,
    },
    /// The merchant has called this interface about the code since the last act.
    Asked {
        interface: On,
        code: Option<String>,
        /// And was answered so.
        answer: Option<String>,
        within: Option<Length>,
    },
    /// From now on, the merchant does not call.
    NotAsked {
        /// Only this interface.
        interface: Option<On>,
        during: Length,
    },
    /// So the code stands at the marketplace.
    Code {
        code: Option<String>,
        /// `issued`, `received`, `activated`, `released`
        stage: Option<String>,
        /// `ALIVE`, `EXPIRED`, `RELEASED`
        status: Option<String>,
        frozen: Option<bool>,
        within: Option<Length>,
    },
    /// So the code stands at the merchant, if that is authcoded.
    License(License),
    /// The daily dial tests of so many half-days have been made, and have passed or not.
    DialTests { half_days: usize, passed: Option<bool>, within: Option<Length> },
}

/// How a code stands at the merchant.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct License {
    pub code: Option<String>,
    /// The merchant knows it at all.
    pub known: Option<bool>,
    pub state: Option<String>,
    pub marketplace_status: Option<String>,
    pub frozen: Option<bool>,
    /// The merchant's end is the marketplace's.
    pub same_end: Option<bool>,
    pub within: Option<Length>,
}

impl What {
    /// The code that the step names.
    pub(super) fn code(&self) -> Option<&str> {
        match self {
            Self::Buyer(
                Buyer::Purchase { code, .. }
                | Buyer::Receive { code }
                | Buyer::HandOver { code }
                | Buyer::Renew { code, .. }
                | Buyer::Unrenew { code, .. }
                | Buyer::Refund { code, .. },
            )
            | Self::Marketplace(
                Marketplace::Expire { code }
                | Marketplace::Freeze { code, .. }
                | Marketplace::Unfreeze { code, .. }
                | Marketplace::Release { code, .. }
                | Marketplace::Fault { code, .. },
            )
            | Self::Merchant(
                Merchant::RestartFailedCalls { code }
                | Merchant::Query { code }
                | Merchant::Activate { code },
            )
            | Self::Expect(
                Expect::Asked { code, .. }
                | Expect::Code { code, .. }
                | Expect::License(License { code, .. }),
            ) => code.as_deref(),
            Self::Marketplace(
                Marketplace::Send { .. }
                | Marketplace::Repeat
                | Marketplace::DialTest
                | Marketplace::ClearFaults
                | Marketplace::LockKey
                | Marketplace::UnlockKey,
            )
            | Self::Wait(_)
            | Self::Expect(
                Expect::Reply { .. }
                | Expect::FailedCall { .. }
                | Expect::NotAsked { .. }
                | Expect::DialTests { .. },
            ) => None,
        }
    }

    /// The end that the step names.
    pub(super) fn end(&self) -> Option<&str> {
        match self {
            Self::Buyer(Buyer::Renew { end, .. } | Buyer::Unrenew { end, .. }) => end.as_deref(),
            Self::Buyer(_)
            | Self::Marketplace(_)
            | Self::Merchant(_)
            | Self::Wait(_)
            | Self::Expect(_) => None,
        }
    }

    /// Whether the step is about a code, named or not, that must have been bought before.
    pub(super) const fn needs_a_code(&self) -> bool {
        match self {
            Self::Buyer(Buyer::Purchase { .. })
            | Self::Marketplace(
                Marketplace::Send { .. }
                | Marketplace::Repeat
                | Marketplace::DialTest
                | Marketplace::Fault { .. }
                | Marketplace::ClearFaults
                | Marketplace::LockKey
                | Marketplace::UnlockKey,
            )
            | Self::Wait(_)
            | Self::Expect(
                Expect::Reply { .. }
                | Expect::FailedCall { .. }
                | Expect::NotAsked { .. }
                | Expect::DialTests { .. },
            ) => false,
            Self::Buyer(_) | Self::Marketplace(_) | Self::Merchant(_) | Self::Expect(_) => true,
        }
    }
}
