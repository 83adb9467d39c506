//! What happens next with a code that somebody handed over, in words that a buyer may be shown.
//!
//! Invariant: the step follows from the row and what is owed for it; nothing a buyer reads names our inside.

use super::license::License;
use super::state::State;
use super::time::Timestamp;

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NextStep {
    /// Nothing: the marketplace confirmed the activation.
    Activated,
    /// The buyer confirms the receipt at the marketplace; the activation then follows by itself.
    WaitingForBuyer,
    /// The activation is under way, or the marketplace cannot be asked now.
    InProgress,
    /// Nothing by itself, for this reason.
    Refused(Refused),
}

/// Why a code will not be activated by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refused {
    /// The marketplace does not know the code (92020005): mistyped, most often.
    UnknownCode,
    /// A freeze is in force.
    Frozen,
    /// The marketplace confirmed that its validity has ended.
    Expired,
    /// It was refunded or released.
    Released,
    /// The marketplace refused for another reason: the merchant must look.
    Other,
}

impl NextStep {
    /// Every step.
    pub const ALL: [Self; 8] = [
        Self::Activated,
        Self::WaitingForBuyer,
        Self::InProgress,
        Self::Refused(Refused::UnknownCode),
        Self::Refused(Refused::Frozen),
        Self::Refused(Refused::Expired),
        Self::Refused(Refused::Released),
        Self::Refused(Refused::Other),
    ];

    /// The word used in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Activated => "activated",
            Self::WaitingForBuyer => "waiting_for_buyer",
            Self::InProgress => "in_progress",
            Self::Refused(_) => "refused",
        }
    }

    /// For a buyer, in Chinese.
    #[must_use]
    pub const fn zh(self) -> &'static str {
        match self {
            Self::Activated => "授权码已激活，可以使用。",
            Self::WaitingForBuyer => {
                "请先在华为云买家中心的“服务监管”中确认领取该授权码，之后会自动激活。"
            }
            Self::InProgress => "授权码正在激活，请稍后再看。",
            Self::Refused(Refused::UnknownCode) => "云商店没有这个授权码，请检查是否输入有误。",
            Self::Refused(Refused::Frozen) => "该授权码已被冻结，请续费或联系商家。",
            Self::Refused(Refused::Expired) => "该授权码已过期，请续费。",
            Self::Refused(Refused::Released) => "该授权码已退订或释放，不能再使用。",
            Self::Refused(Refused::Other) => "该授权码暂时无法激活，请联系商家。",
        }
    }

    /// For a buyer, in English.
    #[must_use]
    pub const fn en(self) -> &'static str {
        match self {
            Self::Activated => "The code is activated and ready for use.",
            Self::WaitingForBuyer => {
                "Please confirm the receipt of this code in the service supervision of your Huawei Cloud buyer centre; it is then activated by itself."
            }
            Self::InProgress => "The code is being activated; please look again in a while.",
            Self::Refused(Refused::UnknownCode) => {
                "KooGallery does not know this code; please check that it was typed correctly."
            }
            Self::Refused(Refused::Frozen) => {
                "This code is frozen; please renew it or contact the merchant."
            }
            Self::Refused(Refused::Expired) => "This code has expired; please renew it.",
            Self::Refused(Refused::Released) => {
                "This code was refunded or released and can no longer be used."
            }
            Self::Refused(Refused::Other) => {
                "This code cannot be activated now; please contact the merchant."
            }
        }
    }
}

/// What happens next with `license`, whose activation is owed at `activation_due`, if it is owed.
#[must_use]
pub fn next_step(license: &License, activation_due: Option<Timestamp>, now: Timestamp) -> NextStep {
    match license.state() {
        State::Released => NextStep::Refused(Refused::Released),
        State::Frozen => NextStep::Refused(Refused::Frozen),
        State::Activated | State::Renewed if license.end_confirmed_at.is_some() => {
            NextStep::Refused(Refused::Expired)
        }
        State::Activated | State::Renewed => NextStep::Activated,
        State::Issued | State::Received => {
            match (activation_due, license.last_error_code.as_deref()) {
                (Some(due), Some("92020004")) if due > now => NextStep::WaitingForBuyer,
                (Some(_), _) | (None, None) => NextStep::InProgress,
                (None, Some("92020005")) => NextStep::Refused(Refused::UnknownCode),
                (None, Some(_)) => NextStep::Refused(Refused::Other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::license::{Code, Standing};
    use crate::domain::state::Live;

    const NOW: Timestamp = Timestamp::from_ms(1_795_249_800_000);

    fn of(state: Live, error: Option<&str>, due_in_ms: Option<i64>) -> NextStep {
        let mut license = License::issued(Code::parse("PL1").expect("a code"), NOW);
        license.standing = Standing::Live(state);
        license.last_error_code = error.map(str::to_owned);
        next_step(&license, due_in_ms.map(|ms| NOW.plus_ms(ms)), NOW)
    }

    #[test]
    fn the_row_and_what_is_owed_say_what_happens_next() {
        for (state, error, due, step) in [
            (Live::Received, None, Some(0), NextStep::InProgress),
            (Live::Issued, Some("92020004"), Some(600_000), NextStep::WaitingForBuyer),
            (Live::Received, Some("92020004"), Some(0), NextStep::InProgress),
            (Live::Received, Some("92020001"), Some(5_000), NextStep::InProgress),
            (Live::Received, Some("92020005"), None, NextStep::Refused(Refused::UnknownCode)),
            (Live::Received, Some("92020005"), Some(0), NextStep::InProgress),
            (Live::Received, Some("92020002"), None, NextStep::Refused(Refused::Other)),
            (Live::Activated, None, None, NextStep::Activated),
            (Live::Renewed, Some("92020001"), None, NextStep::Activated),
        ] {
            assert_eq!(of(state, error, due), step, "{state:?} {error:?} {due:?}");
        }
        let mut license = License::issued(Code::parse("PL1").expect("a code"), NOW);
        license.standing = Standing::Released;
        assert_eq!(next_step(&license, None, NOW), NextStep::Refused(Refused::Released));
        license.standing = Standing::Live(Live::Activated);
        license.end_confirmed_at = Some(NOW);
        assert_eq!(next_step(&license, None, NOW), NextStep::Refused(Refused::Expired));
    }

    #[test]
    fn every_step_is_told_in_both_languages() {
        for step in NextStep::ALL {
            assert!(step.zh().ends_with('。') && step.en().ends_with('.'), "{step:?}");
            assert!(!step.en().contains("9202"), "no codes for buyers: {step:?}");
        }
    }
}
