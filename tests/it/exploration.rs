//! Every history up to length 6 of what the marketplace may send and answer, once, twice and late: the
//! rules of the product hold in all of them.
//!
//! Histories that lead to the same row are walked on once, with the number of histories they stand for.

use authcoded::domain::entitlement::{Policy, Verdict, decide as entitle};
use authcoded::domain::license::{Code, License, OrderId, OrderLineId};
use authcoded::domain::slots::Zone;
use authcoded::domain::state::State;
use authcoded::domain::time::{DAY_MS, DateText, SECOND_MS, Timestamp};
use authcoded::domain::transition::{
    Command, Decision, Facts, QueryAnswer, QueryVerdict, Refresh, decide,
};
use std::collections::HashMap;

const START: Timestamp = Timestamp::from_ms(1_795_249_800_000);
/// Steps are this far apart, so that a late call is older than the one before it and still in the window.
const STEP_MS: i64 = 10 * SECOND_MS;
const LATE_MS: i64 = 15 * SECOND_MS;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Renewal,
    Unrenewal,
    Freeze,
    Unfreeze,
    Release,
    Alive,
    AliveLonger,
    Expired,
    Released,
    NotActivated,
}

const SAID: [Said; 10] = [
    Said::Renewal,
    Said::Unrenewal,
    Said::Freeze,
    Said::Unfreeze,
    Said::Release,
    Said::Alive,
    Said::AliveLonger,
    Said::Expired,
    Said::Released,
    Said::NotActivated,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Once,
    Twice,
    Late,
}

const WAYS: [Way; 3] = [Way::Once, Way::Twice, Way::Late];

fn at(ms: i64) -> authcoded::domain::license::Expiry {
    Zone::UTC.expiry(DateText::from_utc(START.plus_ms(ms)))
}

/// What is said at `now`; a late call was signed, a late answer asked for, before the step before.
fn command(said: Said, way: Way, step: i64, now: Timestamp) -> Command {
    let then = if way == Way::Late { now.plus_ms(-LATE_MS) } else { now };
    let refresh = |days: i64| Refresh {
        order_id: OrderId::parse(&format!("{said:?}{step}")).expect("an id"),
        order_line_id: OrderLineId::parse("1").expect("an id"),
        expiry: at(days * DAY_MS),
        product_id: None,
    };
    let facts = |days: i64| Facts { expiry: Some(at(days * DAY_MS)), ..Facts::default() };
    let query = |verdict| Command::Query(QueryAnswer { asked_at: then, verdict });
    match said {
        Said::Renewal => Command::Renewal(refresh(60)),
        Said::Unrenewal => Command::Unrenewal(refresh(-1)),
        Said::Freeze => Command::Freeze { signed_at: then },
        Said::Unfreeze => Command::Unfreeze { signed_at: then },
        Said::Release => Command::Release { order_id: None },
        Said::Alive => query(QueryVerdict::Alive(facts(30))),
        Said::AliveLonger => query(QueryVerdict::Alive(facts(90))),
        Said::Expired => query(QueryVerdict::Expired(facts(-1))),
        Said::Released => query(QueryVerdict::Released),
        Said::NotActivated => query(QueryVerdict::NotActivated),
    }
}

/// An order that comes twice has one effect: the store's ledger answers the second call.
fn has_an_order(command: &Command) -> bool {
    matches!(command, Command::Renewal(_) | Command::Unrenewal(_) | Command::Release { .. })
}

/// What must hold between a row and the one after it.
fn check(
    before: &License,
    after: &License,
    said: Said,
    decision: Option<&Decision>,
    now: Timestamp,
) {
    let context = || format!("{said:?}\nbefore {before:?}\nafter {after:?}");
    let allowed = entitle(Some(after), now, &Policy::default()).verdict() == Verdict::Allow;
    let stale = decision.is_none_or(|decision| decision.stale);
    if before.state() == State::Released {
        assert_eq!(after.state(), State::Released, "released is terminal: {}", context());
    }
    if stale {
        assert_eq!(before.state(), after.state(), "nothing stale moves a code: {}", context());
        assert_eq!(before.expiry, after.expiry, "nothing stale moves an end: {}", context());
    }
    if matches!(said, Said::Release | Said::Released) {
        assert_eq!(after.state(), State::Released, "over is over: {}", context());
    }
    if let (Some(freeze), State::Activated | State::Renewed | State::Issued | State::Received) =
        (before.freeze(), after.state())
    {
        let paid = said == Said::AliveLonger || said == Said::Alive;
        assert!(
            said == Said::Unfreeze || (paid && freeze.after_expiry()),
            "a violation ends by UNFREEZE only: {}",
            context()
        );
    }
    if matches!(said, Said::Alive | Said::AliveLonger) && !stale {
        let usable = allowed || matches!(after.state(), State::Frozen | State::Released);
        assert!(usable, "a payer is never locked out: {}", context());
    }
    if said == Said::Expired && !stale {
        assert!(!allowed, "no one runs past a confirmed end: {}", context());
    }
    if said == Said::Unfreeze && !stale && before.state() == State::Frozen {
        assert_ne!(after.state(), State::Frozen, "UNFREEZE lifts every freeze: {}", context());
    }
    if said == Said::Freeze && !stale && before.state() != State::Released {
        assert_eq!(after.state(), State::Frozen, "FREEZE freezes what lives: {}", context());
        assert!(!allowed, "frozen does not run: {}", context());
    }
    if matches!(after.state(), State::Renewed) {
        assert!(after.activated_at.is_some(), "renewed was activated once: {}", context());
    }
}

fn walk(first: License, length: i64) -> (u128, usize) {
    let mut rows = HashMap::from([(first, 1u128)]);
    let (mut histories, mut seen) = (0, 0);
    for step in 1..=length {
        let now = START.plus_ms(step * STEP_MS);
        let mut next: HashMap<License, u128> = HashMap::new();
        for (row, count) in &rows {
            for (said, way) in SAID.into_iter().flat_map(|said| WAYS.map(|way| (said, way))) {
                let command = command(said, way, step, now);
                let twice = way == Way::Twice && !has_an_order(&command);
                let mut license = row.clone();
                for _ in 0..=usize::from(twice) {
                    let decision = decide(&license, &command, now).ok();
                    let after = decision.as_ref().map_or(&license, |decision| &decision.license);
                    check(&license, after, said, decision.as_ref(), now);
                    license = after.clone();
                }
                histories += count;
                *next.entry(license).or_default() += count;
            }
        }
        seen += next.len();
        rows = next;
    }
    (histories, seen)
}

#[test]
fn every_short_history_keeps_the_rules() {
    let code = Code::parse("PL1").expect("a code");
    let issued = License::issued(code, START);
    let (mut histories, mut rows) = walk(issued.clone(), 5);
    let alive = command(Said::Alive, Way::Once, 0, START);
    let activated = decide(&issued, &alive, START).expect("decided").license;
    assert_eq!(activated.state(), State::Activated);
    let (more, more_rows) = walk(activated, 6);
    histories += more;
    rows += more_rows;
    println!("{histories} histories up to length 6, {rows} distinct rows");
    assert!(histories > 700_000_000, "the walk must be exhaustive");
}
