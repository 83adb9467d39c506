//! What must hold when a life has been lived.

use super::World;
use super::truth::{About, Frozen};
use crate::wire;
use authcoded::store::{Chain, Store};
use std::collections::BTreeMap;

impl World {
    /// ALIVE is usable, ended or released is not, a violation stays frozen.
    pub(super) fn codes_are_as_the_marketplace_says(&mut self) {
        let codes: Vec<String> = self.truth().codes.keys().cloned().collect();
        for code in codes {
            let license = self.license(&code).expect("registered at the latest by settling");
            let to = self.at().software.expect("a listener");
            let answer = wire::entitlement(to, &code).expect("an answer");
            let truth = self.truth();
            let (it, alive) = (truth.codes[&code].clone(), truth.is_alive(&code));
            drop(truth);
            let case = format!("{it:?}\n{license}\n{answer}");
            let released = license["state"] == "released";
            let allowed = answer["decision"] == "allow";
            assert!(released || !it.released, "released there, not here: {case}");
            if released {
                assert_eq!(answer["reason"], "released", "{case}");
            } else if it.frozen == Some(Frozen::Violation) {
                let told = self
                    .calls
                    .iter()
                    .rfind(|call| call.message.code == code && call.message.about == About::Freeze);
                let told = told.is_some_and(|call| !call.is_open() && !call.given_up);
                assert!(
                    !allowed || !told || self.doubtful.contains(&code),
                    "a violation, and usable: {case}"
                );
            } else if alive {
                assert!(allowed, "alive, and not usable: {case}");
                assert_eq!(license["expires_at"], it.end.to_string(), "{case}");
            } else {
                assert!(!allowed, "not alive, and usable: {case}");
            }
            let activates = it.received && it.frozen.is_none() && !it.released && !released;
            assert!(it.activated || !activates, "received, and never activated: {case}");
        }
    }

    /// Every order that was answered 000000 had one effect, told by one event; its repeats had none.
    pub(super) fn orders_were_applied_once(&mut self) {
        let sent = self.places(|call| call.settled.is_some());
        for place in sent {
            self.repeat(place, true);
        }
        let mut events = BTreeMap::<(String, String, String), usize>::new();
        let mut renewals = BTreeMap::<String, i64>::new();
        let rows = self.rows(
            "SELECT code, kind, order_id FROM event WHERE order_id IS NOT NULL \
             AND kind IN ('renewed', 'unrenewed', 'released') ORDER BY id",
        );
        for row in rows {
            let in_force = renewals.entry(row.0.clone()).or_default();
            match row.1.as_str() {
                "renewed" => *in_force += 1,
                "unrenewed" => *in_force = (*in_force - 1).max(0),
                _ => {}
            }
            *events.entry(row).or_default() += 1;
        }
        let ledger =
            self.rows("SELECT code, order_id, result_code FROM ledger WHERE order_id <> ''");
        for call in &self.calls {
            let message = &call.message;
            let kind = match message.about {
                About::Renewal => "renewed",
                About::Unrenewal => "unrenewed",
                About::Release => "released",
                About::Freeze | About::Unfreeze(_) => continue,
            };
            let key = (message.code.clone(), kind.to_owned(), message.order.clone());
            let found = events.remove(&key).unwrap_or_default();
            let entries = ledger
                .iter()
                .filter(|(code, order, _)| (code, order) == (&message.code, &message.order));
            let entries: Vec<_> = entries.map(|(_, _, answer)| answer.clone()).collect();
            assert_eq!(entries, Vec::from_iter(call.settled.clone()), "{message:?}");
            let applied = call.settled.as_deref() == Some("000000");
            let may_find_it_over = self.released.contains(&message.code);
            // It waited as an orphan, and the marketplace denied the code when it was asked: given up, loudly.
            let may_be_given_up = self.truth().codes[&message.code].was_denied;
            let holds = match (applied, found) {
                (true, 1) | (false, 0) => true,
                (true, 0) => may_find_it_over || may_be_given_up,
                _ => false,
            };
            assert!(holds, "{found} events of {message:?}, answered {:?}", call.settled);
        }
        assert!(events.is_empty(), "of orders that nobody sent: {events:?}");
        let rows = self.rows("SELECT code, '', CAST(renewals_in_force AS TEXT) FROM license");
        for (code, _, count) in rows {
            let expected = renewals.get(&code).copied().unwrap_or_default();
            assert_eq!(count, expected.to_string(), "renewals of {code}");
        }
    }

    /// Rows of three texts.
    fn rows(&self, sql: &str) -> Vec<(String, String, String)> {
        let database = self.database();
        let mut statement = database.prepare(sql).expect("SQL");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        rows.expect("rows").collect::<Result<_, _>>().expect("text")
    }

    /// The events are all there, as they were written.
    pub(super) fn the_chain_holds(&mut self) {
        self.stop();
        let (store, _held) =
            Store::open(&self.stage.data(), |_, _| ()).expect("the database opens");
        let chain = store.read(|snapshot| snapshot.verify_chain(Chain::Events)).expect("a chain");
        assert!(chain.rows > 0 && chain.broken_at.is_none(), "{chain:?}");
    }
}
