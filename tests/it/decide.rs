//! Random histories over the pure decision, step by step against the naive reading of the contract.

use super::naive::{End, Freeze, Happening, Row};
use authcoded::domain::entitlement::{self, Policy, Reason, Verdict};
use authcoded::domain::license::{Code, Expiry, License, OrderId, OrderLineId};
use authcoded::domain::slots::Zone;
use authcoded::domain::state::State;
use authcoded::domain::time::{DAY_MS, DateText, HOUR_MS, MINUTE_MS, Timestamp};
use authcoded::domain::transition::{
    ActivationAnswer, ActivationVerdict, Command, Decision, Effect, EventKind, Facts, QueryAnswer,
    QueryVerdict, Refresh, decide,
};
use proptest::prelude::*;
use std::collections::HashSet;

const BEGIN: Timestamp = Timestamp::from_ms(1_795_000_000_000);
const GRACE_MS: i64 = 72 * HOUR_MS;

/// One step of a history. Ages are milliseconds before now, ends are hours from now.
#[derive(Debug, Clone)]
enum Step {
    Pass(i64),
    Received,
    Activate { verdict: u8, age: i64, end: Option<i64> },
    Query { verdict: u8, age: i64, end: Option<i64> },
    Refresh { renewal: bool, order: u8, end: i64 },
    Status { freeze: bool, age: i64 },
    Release { order: Option<u8> },
}

fn step() -> impl Strategy<Value = Step> {
    let end = || prop_oneof![3 => -100..1_000i64, 1 => -2..2i64];
    let maybe = move || prop_oneof![4 => end().prop_map(Some), 1 => Just(None)];
    let age = || prop_oneof![2 => Just(0i64), 3 => 0..20_000i64];
    prop_oneof![
        3 => prop_oneof![0..10i64, 0..HOUR_MS, 0..4 * DAY_MS].prop_map(Step::Pass),
        1 => Just(Step::Received),
        2 => (0..4u8, age(), maybe()).prop_map(|(verdict, age, end)| Step::Activate { verdict, age, end }),
        4 => (prop_oneof![3 => Just(0u8), 2 => Just(1), 2 => 2..5u8], age(), maybe())
            .prop_map(|(verdict, age, end)| Step::Query { verdict, age, end }),
        4 => (any::<bool>(), 0..8u8, end())
            .prop_map(|(renewal, order, end)| Step::Refresh { renewal, order, end }),
        5 => (any::<bool>(), prop_oneof![2 => Just(0i64), 3 => -60_000..60_000i64])
            .prop_map(|(freeze, age)| Step::Status { freeze, age }),
        1 => proptest::option::of(0..3u8).prop_map(|order| Step::Release { order }),
    ]
}

/// A history at work: the program's row beside the naive one.
struct World {
    zone: Zone,
    now: Timestamp,
    license: License,
    row: Row,
    /// Orders that have had their effect: the ledger's part, which is not `decide`'s.
    seen: HashSet<(bool, u8)>,
    /// The last answer that counted was ALIVE, asked at this time.
    alive_at: Option<Timestamp>,
}

impl World {
    fn new(zone: Zone) -> Self {
        let license = License::issued(Code::parse("PL1").expect("a code"), BEGIN);
        let (row, seen) = (Row::new(), HashSet::new());
        Self { zone, now: BEGIN, license, row, seen, alive_at: None }
    }

    fn end(&self, hours: i64) -> Expiry {
        self.zone.expiry(DateText::from_utc(self.now.plus_ms(hours * HOUR_MS)))
    }

    fn facts(&self, hours: Option<i64>) -> Facts {
        Facts { expiry: hours.map(|hours| self.end(hours)), ..Facts::default() }
    }

    /// The command of a step; none when only time passes or the ledger knows the order.
    fn command(&mut self, step: &Step) -> Option<Command> {
        let ago = |age: i64| self.now.plus_ms(-age);
        Some(match *step {
            Step::Pass(ms) => {
                self.now = self.now.plus_ms(ms);
                return None;
            }
            Step::Received => Command::BuyerReceived,
            Step::Activate { verdict, age, end } => {
                let verdict = match verdict {
                    0 => ActivationVerdict::Done(self.facts(end)),
                    1 => ActivationVerdict::NotReceived,
                    2 => ActivationVerdict::IllegalState,
                    _ => ActivationVerdict::UnknownCode,
                };
                Command::Activation(ActivationAnswer { asked_at: ago(age), verdict })
            }
            Step::Query { verdict, age, end } => {
                let verdict = match verdict {
                    0 => QueryVerdict::Alive(self.facts(end)),
                    1 => QueryVerdict::Expired(self.facts(end)),
                    2 => QueryVerdict::Released,
                    3 => QueryVerdict::NotActivated,
                    _ => QueryVerdict::UnknownCode,
                };
                Command::Query(QueryAnswer { asked_at: ago(age), verdict })
            }
            Step::Refresh { renewal, order, end } => {
                if !self.seen.insert((renewal, order)) {
                    return None;
                }
                let order_id = OrderId::parse(&format!("CS{order}")).expect("an id");
                let order_line_id = OrderLineId::parse("1").expect("an id");
                let refresh =
                    Refresh { order_id, order_line_id, expiry: self.end(end), product_id: None };
                if renewal { Command::Renewal(refresh) } else { Command::Unrenewal(refresh) }
            }
            Step::Status { freeze: true, age } => Command::Freeze { signed_at: ago(age) },
            Step::Status { freeze: false, age } => Command::Unfreeze { signed_at: ago(age) },
            Step::Release { order } => Command::Release {
                order_id: order.map(|n| OrderId::parse(&format!("R{n}")).expect("an id")),
            },
        })
    }

    fn live(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let Some(command) = self.command(step) else { return self.check_entitlement() };
        let before = self.license.clone();
        let decided = decide(&before, &command, self.now);
        let (naive, told) = {
            let mut naive = self.row.clone();
            let told = naive.apply(&happening(&command, self.now));
            (naive, told)
        };
        prop_assert_eq!(decided.is_err(), told.refused, "refusal of {:?}", command);
        let alarm = |kind| kind == EventKind::Contradiction;
        match decided {
            Err(refusal) => {
                prop_assert_eq!(refusal.event.is_some_and(|event| alarm(event.kind)), told.alarm);
            }
            Ok(decision) => {
                prop_assert_eq!(decision.stale, told.stale);
                prop_assert_eq!(decision.events.iter().any(|event| alarm(event.kind)), told.alarm);
                check_effects(&decision, &told.asks, told.activate_at)?;
                check_steps(&before, &command, &decision)?;
                self.remember_alive(&command, &decision);
                (self.license, self.row) = (decision.license, naive);
            }
        }
        prop_assert_eq!(&shown(&self.license), &self.row);
        self.check_entitlement()
    }

    fn remember_alive(&mut self, command: &Command, decision: &Decision) {
        match command {
            Command::Query(answer) if !decision.stale => {
                let alive = matches!(answer.verdict, QueryVerdict::Alive(_));
                self.alive_at = alive.then_some(answer.asked_at);
            }
            Command::Unrenewal(_) => self.alive_at = None,
            _ => {}
        }
    }

    /// Nothing is denied for its end while the marketplace's word is ALIVE within the grace; and the
    /// verdict is the contract's.
    fn check_entitlement(&self) -> Result<(), TestCaseError> {
        let reason = entitlement::decide(Some(&self.license), self.now, &Policy::default());
        let allowed = reason.verdict() == Verdict::Allow;
        prop_assert_eq!(allowed, self.row.allows(self.now.as_ms()), "{:?}", reason);
        let for_its_end = matches!(reason, Reason::Expired | Reason::ExpiredUnconfirmed);
        let alive = self.alive_at.is_some_and(|at| self.now.ms_since(at) < GRACE_MS);
        prop_assert!(!(for_its_end && alive), "{reason:?} although ALIVE at {:?}", self.alive_at);
        Ok(())
    }

    /// The marketplace says ALIVE, with a later end: usable, but for a violation and the released.
    fn ends_up_usable(&mut self) -> Result<(), TestCaseError> {
        self.live(&Step::Pass(MINUTE_MS))?;
        self.live(&Step::Query { verdict: 0, age: 0, end: Some(2_000) })?;
        let violation = self
            .license
            .freeze()
            .is_some_and(|freeze| freeze.expiry_then.is_none_or(|end| freeze.since < end));
        let reason = entitlement::decide(Some(&self.license), self.now, &Policy::default());
        let usable = reason.verdict() == Verdict::Allow;
        let over = self.license.state() == State::Released;
        prop_assert_eq!(usable, !violation && !over, "{:?}", &self.license);
        Ok(())
    }
}

/// A command in the contract's words.
fn happening(command: &Command, now: Timestamp) -> Happening<'static> {
    let (mut signed_at, mut asked_at, mut end, mut is_query) = (0, 0, None, false);
    match command {
        Command::Freeze { signed_at: at } | Command::Unfreeze { signed_at: at } => {
            signed_at = at.as_ms();
        }
        Command::Activation(answer) => {
            asked_at = answer.asked_at.as_ms();
            if let ActivationVerdict::Done(facts) = &answer.verdict {
                end = facts.expiry;
            }
        }
        Command::Query(answer) => {
            (asked_at, is_query) = (answer.asked_at.as_ms(), true);
            if let QueryVerdict::Alive(facts) | QueryVerdict::Expired(facts) = &answer.verdict {
                end = facts.expiry;
            }
        }
        Command::Renewal(refresh) | Command::Unrenewal(refresh) => end = Some(refresh.expiry),
        Command::BuyerReceived | Command::Release { .. } => {}
    }
    let end = end.map(|end| naive_end(&end));
    let input = match command {
        Command::BuyerReceived => "buyer received it (operator, software)",
        Command::Activation(answer) => match answer.verdict {
            ActivationVerdict::Done(_) => "activate 92020000",
            ActivationVerdict::NotReceived => "activate 92020004 not received",
            ActivationVerdict::IllegalState => "activate 92020003 illegal state",
            ActivationVerdict::UnknownCode => "activate/query 92020005 unknown",
        },
        Command::Query(answer) => match answer.verdict {
            QueryVerdict::Alive(_) => "query ALIVE",
            QueryVerdict::Expired(_) => "query EXPIRED",
            QueryVerdict::Released => "query RELEASED",
            QueryVerdict::NotActivated => "query 92020011 not activated",
            QueryVerdict::UnknownCode => "activate/query 92020005 unknown",
        },
        Command::Renewal(_) => "RENEWAL",
        Command::Unrenewal(_) => "UNSUBSCRIBE_RENEWAL_PERIOD",
        Command::Freeze { .. } => "FREEZE",
        Command::Unfreeze { .. } => "UNFREEZE",
        Command::Release { .. } => "release",
    };
    Happening { input, now: now.as_ms(), signed_at, asked_at, is_query, end }
}

fn naive_end(end: &Expiry) -> End {
    let utc = end.text.utc().as_ms();
    End { text: end.text.to_string(), at: end.at.as_ms(), latest: end.at.as_ms().max(utc) }
}

/// The program's row in the naive one's terms.
fn shown(license: &License) -> Row {
    let ms = Timestamp::as_ms;
    let said = license.marketplace_checked_at;
    Row {
        state: license.state().as_str(),
        end: license.expiry.as_ref().map(naive_end),
        end_confirmed_at: license.end_confirmed_at.map(ms),
        freeze: license.freeze().map(|freeze| Freeze {
            since: ms(freeze.since),
            applied_at: ms(freeze.applied_at),
            from: freeze.from.state().as_str(),
            end_then: freeze.expiry_then.map(ms),
        }),
        renewals: i64::from(license.renewals_in_force),
        ever_activated: license.activated_at.is_some(),
        status_seen: license.status_signed_at.map(ms),
        callback_at: license.callback_at.map(ms),
        buyer_waits: usize::try_from(license.buyer_waits).expect("few"),
        said: said.map(|at| (license.marketplace_status.as_str(), ms(at))),
    }
}

/// Whatever the contract wants asked is owed, and the activation is owed when the ladder says.
fn check_effects(
    decision: &Decision,
    asks: &[i64],
    activate_at: Option<i64>,
) -> Result<(), TestCaseError> {
    let (mut owed, mut activations) = (Vec::new(), Vec::new());
    for effect in &decision.effects {
        match effect {
            Effect::Ask(at) | Effect::AskAgain(at) => owed.push(at.as_ms()),
            Effect::Activate(at) => activations.push(at.as_ms()),
            Effect::DropActivation => {}
        }
    }
    prop_assert!(asks.iter().all(|at| owed.contains(at)), "{asks:?} not in {owed:?}");
    prop_assert_eq!(activations, Vec::from_iter(activate_at));
    Ok(())
}

/// What holds of every single step, whatever the table says.
fn check_steps(
    before: &License,
    command: &Command,
    decision: &Decision,
) -> Result<(), TestCaseError> {
    let (from, to) = (before.state(), decision.license.state());
    prop_assert!(from != State::Released || to == State::Released, "revived by {command:?}");
    let may_end_a_freeze = match command {
        Command::Unfreeze { .. } | Command::Release { .. } => true,
        Command::Query(answer) => {
            matches!(answer.verdict, QueryVerdict::Alive(_) | QueryVerdict::Released)
        }
        _ => false,
    };
    prop_assert!(from != State::Frozen || to == from || may_end_a_freeze, "thawed by {command:?}");
    let status_call = matches!(command, Command::Freeze { .. } | Command::Unfreeze { .. });
    let asks = decision.effects.iter().any(|effect| matches!(effect, Effect::Ask(_)));
    prop_assert!(from == to || !status_call || asks, "{command:?} is not compared");
    let mut state = from;
    for event in &decision.events {
        if let (Some(left), Some(reached)) = (event.from, event.to) {
            prop_assert_eq!(left, state, "the events leave a gap");
            state = reached;
        }
    }
    prop_assert_eq!(state, to, "the events do not tell of the move");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_decision_is_the_contracts(
        beijing in any::<bool>(), steps in proptest::collection::vec(step(), 1..40),
    ) {
        let mut world = World::new(if beijing { Zone::SHANGHAI } else { Zone::UTC });
        for step in &steps {
            world.live(step)?;
        }
        world.ends_up_usable()?;
    }
}
