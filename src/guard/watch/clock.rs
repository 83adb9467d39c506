//! The clock: how far it is from the marketplace's, and whether it jumps.

use super::alarm;
use crate::domain::time::{HOUR_MS, Timestamp};
use crate::guard::alarms::{Alarm, Severity};
use std::time::Duration;

/// Skew of the clock that is told (hazards: alarm at 20 s, high at 45 s).
const SKEW_WARN_MS: i64 = 20_000;
const SKEW_HIGH_MS: i64 = 45_000;
/// A difference between the clocks that no slewing explains.
const JUMP_MS: i64 = 2_000;
/// A jump is shown for this long.
const JUMP_SHOWN_MS: i64 = HOUR_MS;

/// The wall clock did not go as the monotonic one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Jump {
    pub(super) at: Timestamp,
    /// Ahead, or back when negative.
    pub(super) by_ms: i64,
}

/// The alarm for the larger of both skews: `date_ms` from the marketplace's answers, `calls_ms` from the
/// signed times of its calls, each our clock minus its own.
pub(super) fn skew_alarm(
    date_ms: Option<i64>,
    calls_ms: Option<i64>,
    now: Timestamp,
) -> Option<Alarm> {
    let (date, calls) = (date_ms.unwrap_or(0), calls_ms.unwrap_or(0));
    let (by_date, by_calls) = (date.saturating_abs(), calls.saturating_abs());
    let worst = by_date.max(by_calls);
    if worst < SKEW_WARN_MS {
        return None;
    }
    let severity = if worst >= SKEW_HIGH_MS { Severity::High } else { Severity::Warning };
    let (text, what_to_do) = if by_date >= by_calls {
        (
            format!("our clock is {} of the marketplace's, as its answers show", apart(date)),
            "repair time synchronisation: at 60 s every callback is refused",
        )
    } else if date_ms.is_some() && by_date < SKEW_WARN_MS {
        (
            format!(
                "our clock is {} of the signed times of callbacks, but agrees with the marketplace's answers",
                apart(calls)
            ),
            "look what holds callbacks up on their way (proxy, queue): at 60 s every one is refused. If nothing does, tell the marketplace's operations that the clock of its callbacks is off",
        )
    } else {
        (
            format!("our clock is {} of the signed times of callbacks", apart(calls)),
            "repair time synchronisation: at 60 s every callback is refused",
        )
    };
    Some(alarm("clock", severity, now, text, what_to_do))
}

fn apart(skew_ms: i64) -> String {
    let side = if skew_ms > 0 { "ahead" } else { "behind" };
    format!("{} ms {side}", skew_ms.saturating_abs())
}

/// By how much the wall clock, `speed` times as fast as a real one, went otherwise than the monotonic one.
pub(super) fn jumped(wall_ms: i64, passed: Duration, speed: u32) -> Option<i64> {
    let passed_ms = i64::try_from(passed.as_millis()).unwrap_or(i64::MAX);
    let by_ms = (wall_ms / i64::from(speed.max(1))).saturating_sub(passed_ms);
    (by_ms.saturating_abs() >= JUMP_MS).then_some(by_ms)
}

pub(super) fn jump_alarm(jump: Jump, now: Timestamp) -> Option<Alarm> {
    let ago_ms = now.ms_since(jump.at).saturating_abs();
    let side = if jump.by_ms > 0 { "ahead" } else { "back" };
    let text = format!(
        "the wall clock jumped {} s {side} at {}, or this machine was suspended",
        jump.by_ms.saturating_abs() / 1_000,
        jump.at
    );
    let what_to_do = "look why (timedatectl, chronyc tracking, the host of a virtual machine): no job runs twice because of it, but callbacks are refused while the clock is wrong";
    (ago_ms < JUMP_SHOWN_MS).then(|| Alarm {
        since: jump.at,
        ..alarm("clock_jump", Severity::Warning, now, text, what_to_do)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_ms(1_795_249_800_000);

    #[test]
    fn twenty_seconds_warn_and_forty_five_are_high() {
        for (date, calls, severity, says) in [
            (None, None, None, ""),
            (Some(19_999), Some(-19_999), None, ""),
            (Some(20_000), None, Some(Severity::Warning), "20000 ms ahead of the marketplace's"),
            (Some(-45_000), Some(0), Some(Severity::High), "45000 ms behind"),
            (None, Some(-20_000), Some(Severity::Warning), "20000 ms behind of the signed times"),
            (Some(0), Some(45_000), Some(Severity::High), "but agrees with"),
            (Some(30_000), Some(31_000), Some(Severity::Warning), "31000 ms ahead of the signed"),
        ] {
            let told = skew_alarm(date, calls, NOW);
            assert_eq!(told.as_ref().map(|alarm| alarm.severity), severity, "{date:?} {calls:?}");
            assert!(told.is_none_or(|alarm| alarm.text.contains(says)), "{says}");
        }
    }

    #[test]
    fn a_jump_is_shown_for_an_hour() {
        let jump = Jump { at: NOW, by_ms: -3_600_000 };
        let told = jump_alarm(jump, NOW).expect("told");
        assert!(told.text.contains("3600 s back") && told.since == NOW, "{}", told.text);
        assert!(jump_alarm(jump, NOW.plus_ms(JUMP_SHOWN_MS)).is_none());
    }

    proptest! {
        #[test]
        fn only_what_the_clocks_disagree_on_is_a_jump(
            passed_ms in 0i64..100_000_000, off_ms in -10_000_000i64..10_000_000, speed in 1u32..5_000,
        ) {
            let passed = Duration::from_millis(passed_ms.unsigned_abs());
            let wall_ms = (passed_ms + off_ms) * i64::from(speed);
            let expected = (off_ms.abs() >= JUMP_MS).then_some(off_ms);
            prop_assert_eq!(jumped(wall_ms, passed, speed), expected);
        }
    }
}
