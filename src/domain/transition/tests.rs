//! Every cell of the table, and every rule of product.md §3.1 and §9 that a cell's name only hints at.

use super::*;
use crate::domain::license::{Code, Expiry, Freeze, OrderId, OrderLineId, Standing};
use crate::domain::state::State::{Activated, Frozen, Issued, Received, Released, Renewed};
use crate::domain::state::{Live, State};
use crate::domain::time::{DAY_MS, DateText};
use std::collections::BTreeSet;

const NOW: Timestamp = Timestamp::from_ms(1_795_000_000_000);

fn at(ms: i64) -> Timestamp {
    NOW.plus_ms(ms)
}

/// The end `days` from now, in whole seconds, the same in both readings of this test.
fn end(days: i64) -> Expiry {
    let text = DateText::from_utc(at(days * DAY_MS));
    Expiry { text, at: text.utc() }
}

fn facts(days: i64) -> Facts {
    Facts { expiry: Some(end(days)), ..Facts::default() }
}

fn refresh(days: i64) -> Refresh {
    let order_id = OrderId::parse("CS1").expect("an id");
    let order_line_id = OrderLineId::parse("1").expect("an id");
    Refresh { order_id, order_line_id, expiry: end(days), product_id: None }
}

fn renewal(days: i64) -> Command {
    Command::Renewal(refresh(days))
}

fn unrenewal(days: i64) -> Command {
    Command::Unrenewal(refresh(days))
}

fn activation(verdict: ActivationVerdict) -> Command {
    Command::Activation(ActivationAnswer { asked_at: at(-1), verdict })
}

fn query(verdict: QueryVerdict) -> Command {
    Command::Query(QueryAnswer { asked_at: at(-1), verdict })
}

/// A query that left after whatever came at `NOW`.
fn later_query(verdict: QueryVerdict) -> Command {
    Command::Query(QueryAnswer { asked_at: at(1), verdict })
}

fn freeze(ms: i64) -> Command {
    Command::Freeze { signed_at: at(ms) }
}

fn unfreeze(ms: i64) -> Command {
    Command::Unfreeze { signed_at: at(ms) }
}

fn frozen_from(from: Live, since_ms: i64, days: i64) -> License {
    let mut license = in_state(from.state());
    license.expiry = Some(end(days));
    license.standing = Standing::Frozen(Freeze {
        since: at(since_ms),
        applied_at: at(since_ms),
        from,
        expiry_then: Some(end(days).at),
    });
    license.status_signed_at = Some(at(since_ms));
    license
}

/// A code in `state` that ends in thirty days; frozen an hour ago, for a violation.
fn in_state(state: State) -> License {
    let mut license = License::issued(Code::parse("PL1").expect("a code"), at(-DAY_MS));
    license.standing = match state {
        Issued => return license,
        Received => Standing::Live(Live::Received),
        Activated => Standing::Live(Live::Activated),
        Renewed => Standing::Live(Live::Renewed),
        Frozen => return frozen_from(Live::Activated, -HOUR_MS, 30),
        Released => Standing::Released,
    };
    if state != Received {
        license.activated_at = Some(at(-DAY_MS));
        license.expiry = Some(end(30));
    }
    license.renewals_in_force = u32::from(state == Renewed);
    license
}

fn done(license: &License, command: &Command) -> Decision {
    decide(license, command, NOW).expect("not refused")
}

/// `state: events; effects`, or `refused: events`.
fn told(result: &Result<Decision, Refusal>) -> String {
    let words = |events: &[EventDraft]| {
        events.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>().join(" ")
    };
    let told = match result {
        Err(refusal) => format!("refused: {}", words(refusal.event.as_slice())),
        Ok(decision) => {
            let effects = decision.effects.iter().map(|effect| match effect {
                Effect::Ask(_) => " ask",
                Effect::AskAgain(_) => " again",
                Effect::Activate(_) => " activate",
                Effect::DropActivation => " drop",
            });
            let (state, events) = (decision.license.state(), words(&decision.events));
            format!("{state}: {events};{}", effects.collect::<String>())
        }
    };
    told.replace(": ;", ":").trim_end_matches([' ', ';', ':']).to_owned()
}

/// What becomes of a code in each state, as [`told`] says it; `=` stands for the state itself.
#[rustfmt::skip]
const CELLS: [[&str; 6]; 15] = [
    ["received: received", "=", "=", "=", "=", "refused"],
    ["activated: received activated; drop ask", "activated: activated; drop ask", "=: drop", "=: drop", "=: drop ask", "=: contradiction"],
    ["=: activation_waiting; activate", "issued: repaired activation_waiting; activate", "=: contradiction", "=: contradiction", "=: contradiction", "=: drop"],
    ["=: ask", "=: ask", "=: ask", "=: ask", "=: ask", "=: drop"],
    ["=: contradiction; drop", "=: contradiction; drop", "=: contradiction", "=: contradiction", "=: contradiction", "=: drop"],
    ["=: contradiction; drop", "=: contradiction; drop", "=: contradiction", "=: contradiction", "=: contradiction", "="],
    ["=", "=", "=: contradiction", "=: contradiction", "=: contradiction", "="],
    ["activated: received activated observed; drop", "activated: activated observed; drop", "=", "=", "=", "=: contradiction"],
    ["activated: received activated observed expired; drop", "activated: activated observed expired; drop", "=: expired", "=: expired", "=: expired", "="],
    [OVER, OVER, OVER, OVER, OVER, "="],
    ["=: renewed", "=: renewed", "renewed: renewed", "=: renewed", "=: renewed; ask again", "refused: contradiction"],
    ["=: unrenewed", "=: unrenewed", "=: unrenewed", "activated: unrenewed", "=: unrenewed", "refused: contradiction"],
    ["frozen: frozen; ask", "frozen: frozen; ask", "frozen: frozen; ask", "frozen: frozen; ask", "=", "="],
    ["=", "=", "=", "=", "activated: thawed; ask", "refused: contradiction"],
    [OVER, OVER, OVER, OVER, OVER, "="],
];
const OVER: &str = "released: released; drop";

#[test]
fn every_cell_does_what_the_contract_says() {
    let commands = [
        Command::BuyerReceived,
        activation(ActivationVerdict::Done(Facts::default())),
        activation(ActivationVerdict::NotReceived),
        activation(ActivationVerdict::IllegalState),
        activation(ActivationVerdict::UnknownCode),
        query(QueryVerdict::UnknownCode),
        query(QueryVerdict::NotActivated),
        query(QueryVerdict::Alive(facts(30))),
        query(QueryVerdict::Expired(facts(30))),
        query(QueryVerdict::Released),
        renewal(60),
        unrenewal(5),
        freeze(0),
        unfreeze(0),
        Command::Release { order_id: None },
    ];
    let mut rows = BTreeSet::new();
    for (command, expected) in commands.iter().zip(CELLS) {
        rows.insert(command.input() as usize);
        for (state, expected) in State::ALL.into_iter().zip(expected) {
            let found = told(&decide(&in_state(state), command, NOW));
            let expected = expected.replace('=', state.as_str());
            assert_eq!(found, expected, "{} in {state}", command.input().as_str());
        }
    }
    assert_eq!(rows.len(), TABLE.len(), "every row of the table is tried");
}

#[test]
fn a_row_is_found_by_its_input_and_a_column_by_its_state() {
    for (number, (input, cells)) in TABLE.iter().enumerate() {
        assert_eq!(*input as usize, number);
        for (state, expected) in State::ALL.into_iter().zip(cells) {
            assert_eq!(cell(*input, state), *expected);
        }
    }
}

#[test]
fn a_status_call_older_than_the_last_is_stale_and_an_equal_one_is_not() {
    for state in State::ALL {
        let mut license = in_state(state);
        license.status_signed_at = Some(at(-10));
        for older in [freeze(-11), unfreeze(-11)] {
            let decision = done(&license, &older);
            assert!(decision.stale && decision.effects.is_empty(), "{state}");
            assert_eq!(decision.license, license);
            let kinds: Vec<_> = decision.events.iter().map(|event| event.kind).collect();
            assert_eq!(kinds, [EventKind::Stale]);
        }
    }
    let equal = done(&frozen_from(Live::Activated, -10, 30), &unfreeze(-10));
    assert_eq!((equal.license.state(), equal.stale), (Activated, false));
}

#[test]
fn an_unfreeze_that_overtakes_its_freeze_wins() {
    let first = done(&in_state(Activated), &unfreeze(-10)).license;
    assert_eq!((first.state(), first.status_signed_at), (Activated, Some(at(-10))));
    let second = done(&first, &freeze(-20));
    assert_eq!((second.license.state(), second.stale), (Activated, true));
}

#[test]
fn a_status_call_that_changes_nothing_is_seen_all_the_same() {
    let calls = [(Frozen, freeze(-5)), (Activated, unfreeze(-5)), (Released, freeze(-5))];
    for (state, command) in calls {
        let decision = done(&in_state(state), &command);
        assert_eq!(decision.license.status_signed_at, Some(at(-5)));
        assert_eq!(decision.license.callback_at, Some(NOW));
        assert_eq!(decision.license.freeze(), in_state(state).freeze());
    }
}

/// Frozen after the end, and a newer answer with a later end: only all three together thaw.
#[test]
fn alive_thaws_only_what_was_paid() {
    for (since_ms, asked_ms, shown_days, thaws) in [
        (0, 2_000, 30, true),
        (-2 * DAY_MS, 2_000, 30, false), // frozen before its end: a violation
        (0, 0, 30, false),               // asked in the instant of the freeze
        (0, -1_000, 30, false),          // asked before the freeze
        (0, 2_000, -1, false),           // the same end
        (0, 2_000, -3, false),           // an earlier end
    ] {
        let license = frozen_from(Live::Activated, since_ms, -1);
        let verdict = QueryVerdict::Alive(facts(shown_days));
        let command = Command::Query(QueryAnswer { asked_at: at(asked_ms), verdict });
        let decision = decide(&license, &command, at(3_000)).expect("not refused");
        let case = (since_ms, asked_ms, shown_days);
        assert_eq!(decision.license.state() == Activated, thaws, "{case:?}");
        assert_eq!(decision.license.expiry, Some(end(shown_days)), "{case:?}");
    }
    let mut unknown_end = frozen_from(Live::Activated, 0, -1);
    if let Standing::Frozen(freeze) = &mut unknown_end.standing {
        freeze.expiry_then = None;
    }
    let later = later_query(QueryVerdict::Alive(facts(30)));
    assert_eq!(done(&unknown_end, &later).license.state(), Frozen);
}

#[test]
fn a_renewal_while_frozen_asks_now_and_five_minutes_later() {
    let decision = done(&frozen_from(Live::Activated, -HOUR_MS, -1), &renewal(60));
    assert_eq!(decision.effects, [Effect::Ask(NOW), Effect::AskAgain(at(5 * MINUTE_MS))]);
    assert_eq!(decision.license.expiry, Some(end(60)));
    assert_eq!(done(&decision.license, &unfreeze(0)).license.state(), Renewed);
}

#[test]
fn a_thaw_goes_back_to_where_the_code_came_from() {
    for (from, renewals, ever_activated, to) in [
        (Live::Issued, 0, false, Issued),
        (Live::Received, 0, false, Received),
        (Live::Received, 1, false, Received),
        (Live::Received, 0, true, Activated), // activated while it was frozen
        (Live::Received, 1, true, Renewed),
        (Live::Activated, 0, true, Activated),
        (Live::Activated, 1, true, Renewed), // renewed while it was frozen
        (Live::Renewed, 1, true, Renewed),
        (Live::Renewed, 0, true, Activated), // un-renewed while it was frozen
    ] {
        let mut license = frozen_from(from, -HOUR_MS, 30);
        license.renewals_in_force = renewals;
        license.activated_at = ever_activated.then_some(at(-DAY_MS));
        let thawed = done(&license, &unfreeze(0));
        assert_eq!(thawed.license.state(), to, "{from:?} {renewals} {ever_activated}");
        assert_eq!(thawed.effects, [Effect::Ask(NOW)]);
    }
}

#[test]
fn an_activation_of_a_frozen_code_is_remembered_for_the_thaw() {
    let license = done(&in_state(Received), &freeze(-10)).license;
    let answers = [
        activation(ActivationVerdict::Done(Facts::default())),
        later_query(QueryVerdict::Alive(facts(30))),
    ];
    for answer in answers {
        let activated = done(&license, &answer).license;
        assert_eq!(activated.state(), Frozen);
        assert_eq!(done(&activated, &unfreeze(0)).license.state(), Activated);
    }
}

#[test]
fn a_renewal_before_the_activation_counts() {
    for state in [Issued, Received] {
        let stored = done(&in_state(state), &renewal(60)).license;
        assert_eq!((stored.state(), stored.renewals_in_force), (state, 1));
        let answer = activation(ActivationVerdict::Done(Facts::default()));
        let activated = done(&stored, &answer).license;
        assert_eq!((activated.state(), activated.expiry), (Renewed, Some(end(60))));
        let taken_back = done(&stored, &unrenewal(30)).license;
        assert_eq!((taken_back.state(), taken_back.renewals_in_force), (state, 0));
    }
}

#[test]
fn renewals_are_counted_and_never_below_none() {
    let mut license = in_state(Activated);
    let script =
        [(1, Renewed), (1, Renewed), (-1, Renewed), (-1, Activated), (-1, Activated), (1, Renewed)];
    let mut counts = Vec::new();
    for (step, state) in script {
        let command = if step > 0 { renewal(60) } else { unrenewal(60) };
        license = done(&license, &command).license;
        assert_eq!(license.state(), state);
        counts.push(license.renewals_in_force);
    }
    assert_eq!(counts, [1, 2, 1, 0, 0, 1]);
}

#[test]
fn an_unrenewal_whose_end_has_passed_confirms_it_and_a_later_end_lifts_that() {
    let over = done(&in_state(Renewed), &unrenewal(-1)).license;
    assert_eq!(over.end_confirmed_at, Some(NOW));
    let still_runs = done(&in_state(Renewed), &unrenewal(1)).license;
    assert_eq!(still_runs.end_confirmed_at, None);
    let renewed = done(&over, &renewal(60)).license;
    assert_eq!(renewed.end_confirmed_at, None);
    let alive = later_query(QueryVerdict::Alive(facts(60)));
    assert_eq!(done(&over, &alive).license.end_confirmed_at, None);
    let late = done(&in_state(Activated), &renewal(-1)).license;
    assert_eq!(late.end_confirmed_at, None, "a renewal confirms no end");
}

#[test]
fn an_expired_answer_confirms_the_end_once() {
    let expired = query(QueryVerdict::Expired(facts(-1)));
    let first = done(&in_state(Activated), &expired);
    assert_eq!(first.license.end_confirmed_at, Some(NOW));
    let again = decide(&first.license, &expired, at(HOUR_MS)).expect("not refused");
    assert_eq!((again.license.end_confirmed_at, again.events.len()), (Some(NOW), 0));
}

#[test]
fn the_ladder_waits_longer_each_time_and_then_every_six_hours() {
    let (mut license, mut minutes) = (in_state(Received), Vec::new());
    for _ in 0..8 {
        let decision = done(&license, &activation(ActivationVerdict::NotReceived));
        let [Effect::Activate(due)] = decision.effects[..] else { panic!("{decision:?}") };
        minutes.push(due.ms_since(NOW) / MINUTE_MS);
        license = decision.license;
    }
    assert_eq!(minutes, [10, 30, 60, 120, 240, 360, 360, 360]);
    let activated = done(&license, &activation(ActivationVerdict::Done(Facts::default())));
    assert_eq!(activated.license.buyer_waits, 0);
}

#[test]
fn an_answer_that_a_callback_overtook_is_not_applied_but_asked_again() {
    let verdicts = [
        QueryVerdict::Alive(facts(90)),
        QueryVerdict::Expired(facts(-1)),
        QueryVerdict::NotActivated,
        QueryVerdict::UnknownCode,
    ];
    for state in State::ALL {
        let mut license = in_state(state);
        license.callback_at = Some(at(-1));
        for verdict in verdicts.clone() {
            let decision = done(&license, &query(verdict));
            assert!(decision.stale && decision.events.is_empty());
            assert_eq!(decision.license, license);
            assert_eq!(decision.effects, [Effect::Ask(NOW)]);
        }
        let over = done(&license, &query(QueryVerdict::Released));
        assert_eq!((over.license.state(), over.stale), (Released, false), "an end has no order");
    }
}

#[test]
fn an_activation_that_a_callback_overtook_leaves_the_callbacks_expiry() {
    let mut license = done(&in_state(Received), &renewal(60)).license;
    let estimate = activation(ActivationVerdict::Done(facts(30)));
    assert_eq!(done(&license, &estimate).license.expiry, Some(end(60)));
    license.callback_at = Some(at(-2));
    assert_eq!(done(&license, &estimate).license.expiry, Some(end(30)));
}

#[test]
fn a_renewal_that_shortens_is_asked_about() {
    let decision = done(&in_state(Renewed), &renewal(10));
    assert_eq!(decision.license.expiry, Some(end(10)));
    assert_eq!(decision.effects, [Effect::Ask(NOW)]);
}

#[test]
fn contradictions_and_refusals_carry_the_code_that_was_answered() {
    let unknown = done(&in_state(Activated), &query(QueryVerdict::UnknownCode));
    assert_eq!(unknown.events[0].result_code.as_deref(), Some("92020005"));
    let refused = decide(&in_state(Released), &renewal(60), NOW).expect_err("over");
    let event = refused.event.expect("an event");
    assert_eq!(event.result_code.as_deref(), Some("000003"));
    assert_eq!(event.order_id.as_ref().map(OrderId::as_str), Some("CS1"));
    let waiting = done(&in_state(Issued), &activation(ActivationVerdict::NotReceived));
    assert_eq!(waiting.events[0].result_code.as_deref(), Some("92020004"));
}
