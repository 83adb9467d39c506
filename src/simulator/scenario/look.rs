//! Looks at something until it is as expected, or too late.
//!
//! Invariant: an expectation is decided as soon as nothing can change it any more, and at the latest
//! after its time; however fast time runs, the merchant's machine gets [`REAL_FLOOR`].

use super::length::Length;
use super::player::Player;
use super::report::End;
use std::time::Duration;
use tokio::time::Instant;

/// However fast time runs, an expectation is given so much real time to come true.
const REAL_FLOOR: Duration = Duration::from_secs(10);
/// How often is looked, in real time.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(15);

/// What one look showed.
pub(super) enum Look {
    /// As expected.
    Met,
    /// Not so, but it may become so. This is seen.
    NotYet(String),
    /// Not so, and it cannot become so.
    Never(String),
}

/// Looks until it is as expected, or it cannot become so, or the time is over.
pub(super) async fn until(
    player: &Player<'_>,
    within: Option<Length>,
    usual: Duration,
    expected: String,
    look: impl AsyncFn() -> Result<Look, String>,
) -> Result<End, String> {
    let within = within.map_or(usual, |length| length.0);
    let end = Instant::now() + player.shared.pace.limit(within, REAL_FLOOR);
    loop {
        // The time is read first, so that the last look comes after the end.
        let over = Instant::now() >= end;
        match look().await? {
            Look::Met => return Ok(End::Ok(None)),
            Look::Never(got) => return Ok(End::Missed { expected, got }),
            Look::NotYet(got) if over => return Ok(End::Missed { expected, got }),
            Look::NotYet(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// Of two looks the one that is further from what is expected.
pub(super) fn worse(one: Look, other: Look) -> Look {
    match (one, other) {
        (never @ Look::Never(_), _) | (_, never @ Look::Never(_)) => never,
        (not_yet @ Look::NotYet(_), _) | (_, not_yet @ Look::NotYet(_)) => not_yet,
        (Look::Met, Look::Met) => Look::Met,
    }
}
