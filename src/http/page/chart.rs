//! The two pictures of the front page: the strip of half-days, and the codes by state.
//!
//! Invariant: no picture tells anything by its colours alone.

use super::front::STRIP_DAYS;
use super::texts::Text;
use super::view::View;
use super::words;
use crate::domain::state::State;
use crate::domain::time::{BEIJING_OFFSET_MS, DAY_MS, HOUR_MS, Timestamp, day_text};
use maud::{Markup, html};

/// The width of the bar, in its own units.
const BAR: i64 = 1_000;
/// A part that is there is seen, however small.
const PART_MIN: i64 = 6;

/// The last heartbeat of each half-day in Beijing; today stands first, where a narrow screen shows it.
pub(super) fn half_days(view: &View, heartbeats: &[(Timestamp, String)]) -> Markup {
    let today = view.now.beijing_day();
    let days: Vec<i64> = (today - STRIP_DAYS + 1..=today).rev().collect();
    let cell =
        |day: i64, half: i64| heartbeats.iter().rev().find(|(at, _)| half_day(*at) == (day, half));
    html! {
        div .scroll tabindex="0" role="region" aria-label=(view.t(Text::HeartbeatStrip)) {
            table .strip {
                thead {
                    tr {
                        td {}
                        @for day in &days { th scope="col" { (month_and_day(*day)) } }
                    }
                }
                tbody {
                    @for (half, name) in [(0, Text::Morning), (1, Text::Afternoon)] {
                        tr {
                            th scope="row" { (view.t(name)) }
                            @for day in &days { (half_day_cell(view, cell(*day, half))) }
                        }
                    }
                }
            }
        }
    }
}

fn half_day_cell(view: &View, heartbeat: Option<&(Timestamp, String)>) -> Markup {
    let Some((at, outcome)) = heartbeat else {
        return html! {
            td .outcome-none {
                span .sign aria-hidden="true" { "·" }
                span .unseen { (view.t(Text::NoHeartbeat)) }
            }
        };
    };
    let word = view.word(words::outcome(outcome), outcome);
    let sign = match outcome.as_str() {
        "ok" => "✓",
        "slow" => "~",
        _ => "✗",
    };
    html! {
        td class={ "outcome-" (outcome) } title={ (word) " " (view.zone.date_time(*at)) } {
            span .sign aria-hidden="true" { (sign) }
            span .unseen { (word) " " (view.time(*at)) }
        }
    }
}

/// The day in Beijing and which half of it.
fn half_day(at: Timestamp) -> (i64, i64) {
    let ms_of_day = at.as_ms().saturating_add(BEIJING_OFFSET_MS).rem_euclid(DAY_MS);
    (at.beijing_day(), ms_of_day / (12 * HOUR_MS))
}

fn month_and_day(day: i64) -> String {
    day_text(day).split_once('-').map_or_else(String::new, |(_, rest)| rest.to_owned())
}

/// A bar in parts, and the same as a table whose rows lead to the codes.
pub(super) fn by_state(view: &View, counts: &[(State, i64)]) -> Markup {
    let total: i64 = counts.iter().map(|(_, n)| n).sum();
    html! {
        @if total > 0 { (bar(view, counts, total)) }
        div .scroll tabindex="0" role="region" aria-label=(view.t(Text::LicensesByState)) {
            table .legend {
                thead {
                    tr {
                        th scope="col" { (view.t(Text::State)) }
                        th scope="col" .number { (view.t(Text::Count)) }
                        th scope="col" .number { (view.t(Text::Share)) }
                    }
                }
                tbody { @for (state, n) in counts { (legend_row(view, *state, *n, total)) } }
            }
        }
    }
}

fn legend_row(view: &View, state: State, n: i64, total: i64) -> Markup {
    let word = state.as_str();
    html! {
        tr {
            th scope="row" {
                svg .swatch viewBox="0 0 10 10" aria-hidden="true" {
                    rect class={ "part-" (word) } width="10" height="10" {}
                }
                a href={ "/licenses?state=" (word) } { (view.t(words::state(state))) }
            }
            td .number { (n) }
            td .number { (n * 100 / total.max(1)) " %" }
        }
    }
}

fn bar(view: &View, counts: &[(State, i64)], total: i64) -> Markup {
    let mut at = 0;
    let parts = counts.iter().filter(|(_, n)| *n > 0).map(|(state, n)| {
        let width = (n * BAR / total).max(PART_MIN);
        let part = (at, width, state.as_str());
        at += width;
        part
    });
    let parts: Vec<_> = parts.collect();
    let width = at;
    html! {
        svg .bar viewBox={ "0 0 " (width) " 40" } preserveAspectRatio="none" role="img"
            aria-label=(view.t(Text::LicensesByState)) {
            @for (x, width, word) in parts {
                rect class={ "part-" (word) } x=(x) width=(width) height="40" {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_in_beijing_has_two_halves() {
        let midnight = Timestamp::from_ms(20_000 * DAY_MS - BEIJING_OFFSET_MS);
        assert_eq!(half_day(midnight), (20_000, 0));
        assert_eq!(half_day(midnight.plus_ms(-1)), (19_999, 1));
        assert_eq!(half_day(midnight.plus_ms(12 * HOUR_MS)), (20_000, 1));
        assert_eq!(half_day(midnight.plus_ms(12 * HOUR_MS - 1)), (20_000, 0));
    }
}
