//! The books against the database: whatever was acknowledged is there, and everything is there once.

use super::clients::{About, Book, Call};
use authcoded::store::{Chain, Store};
use rusqlite::{Connection, OpenFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Everything that is wrong; each finding names the call.
pub(super) fn audit(book: &Book, data: &Path) -> Vec<String> {
    let mut faults = book.read(|pages| std::mem::take(&mut pages.faults));
    let calls = book.read(|pages| pages.calls.clone());
    // The store replays the log that the last kill left, and walks its own chain.
    let (store, _held) = Store::open(data, |_, _| ()).expect("the database opens");
    let chain = store.read(|snapshot| snapshot.verify_chain(Chain::Events)).expect("a chain");
    if chain.broken_at.is_some() {
        faults.push(format!("the event chain is broken: {chain:?}"));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = Connection::open_with_flags(data.join("authcoded.db"), flags).expect("opens");
    let mut audit = Audit { database, faults };
    audit.every_acknowledged_call_is_recorded(&calls);
    audit.orders_are_applied_once(&calls);
    audit.status_follows_the_newest_call(&calls);
    audit.releases_happen_once(&calls);
    audit.faults
}

struct Audit {
    database: Connection,
    faults: Vec<String>,
}

impl Audit {
    /// The rows of a statement with two columns, as text.
    fn rows(&self, sql: &str) -> Vec<(String, String)> {
        let mut statement = self.database.prepare(sql).expect("SQL");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
        rows.collect::<Result<_, _>>().expect("text")
    }

    /// The inbox and the nonces hold each call whose 000000 arrived, and none that never left.
    fn every_acknowledged_call_is_recorded(&mut self, calls: &[Call]) {
        let nonces = self.rows("SELECT nonce, '' FROM replay");
        let nonces: BTreeSet<&str> = nonces.iter().map(|(nonce, _)| nonce.as_str()).collect();
        let inbox = self.rows(
            "SELECT CAST(body AS TEXT), '' FROM callback WHERE test = 0 AND signed_at IS NOT NULL",
        );
        let mut recorded = BTreeMap::<&str, usize>::new();
        for (body, _) in &inbox {
            *recorded.entry(body).or_default() += 1;
        }
        let mut expected = BTreeMap::<&str, (usize, usize)>::new();
        for call in calls {
            let (acknowledged, sent) = expected.entry(&call.signed.body).or_default();
            *acknowledged += call.acknowledged;
            *sent += call.sent;
            if call.acknowledged > 0 && !nonces.contains(call.signed.nonce.as_str()) {
                self.faults.push(format!("acknowledged, but its nonce is gone: {call:?}"));
            }
        }
        for (body, (acknowledged, sent)) in &expected {
            let found = recorded.get(body).copied().unwrap_or_default();
            if !(*acknowledged..=*sent).contains(&found) {
                self.faults.push(format!(
                    "sent {sent} times, acknowledged {acknowledged} times, recorded {found} times: {body}"
                ));
            }
        }
        for body in recorded.keys().filter(|body| !expected.contains_key(*body)) {
            self.faults.push(format!("recorded, but never sent: {body}"));
        }
    }

    /// Each acknowledged order has one row in the ledger, one event and one applied callback; an order
    /// that was cut off has one of each or none; and the codes count the same.
    fn orders_are_applied_once(&mut self, calls: &[Call]) {
        let ledger = self.rows("SELECT code, order_id FROM ledger WHERE scene = 'RENEWAL'");
        let events = self.rows(
            "SELECT code, order_id FROM event WHERE kind = 'renewed' AND order_id IS NOT NULL",
        );
        let applied = self.rows(
            "SELECT code, CAST(body AS TEXT) ->> 'orderId' FROM callback \
             WHERE verdict = 'applied' AND activity = 'refreshLicenseCode'",
        );
        let mut orders = BTreeMap::<(String, String), usize>::new();
        for call in calls {
            if let About::Renewal { code, order } = &call.about {
                *orders.entry((code.clone(), order.clone())).or_default() += call.acknowledged;
            }
        }
        for table in [&ledger, &events, &applied] {
            for row in table.iter().filter(|row| !orders.contains_key(*row)) {
                self.faults.push(format!("an order that nobody sent: {row:?}"));
            }
        }
        let count = |table: &[(String, String)]| {
            let mut counts = BTreeMap::<(String, String), usize>::new();
            for row in table {
                *counts.entry(row.clone()).or_default() += 1;
            }
            counts
        };
        let counts = [count(&ledger), count(&events), count(&applied)];
        let mut in_force = BTreeMap::<&str, usize>::new();
        for (order, acknowledged) in &orders {
            let found =
                counts.each_ref().map(|table| table.get(order).copied().unwrap_or_default());
            let once = found == [1, 1, 1] || (found == [0, 0, 0] && *acknowledged == 0);
            if !once {
                self.faults.push(format!(
                    "{order:?} acknowledged {acknowledged} times; ledger, events, applied: {found:?}"
                ));
            }
            *in_force.entry(&order.0).or_default() += found[0];
        }
        let codes = self.rows(
            "SELECT code, CAST(renewals_in_force AS TEXT) FROM license WHERE code LIKE 'RENEW%'",
        );
        for (code, count) in codes {
            let expected = in_force.get(code.as_str()).copied().unwrap_or_default();
            if count != expected.to_string() {
                self.faults
                    .push(format!("{code} counts {count} renewals, {expected} were applied"));
            }
        }
    }

    /// A status code stands as the newest call says that was applied, which is no older than the newest
    /// acknowledged one; and it never went the same way twice in a row.
    fn status_follows_the_newest_call(&mut self, calls: &[Call]) {
        let mut sent = BTreeMap::<&str, BTreeMap<i64, (bool, bool)>>::new();
        for call in calls {
            if let About::Status { code, frozen } = &call.about {
                let at = call.signed.signed_at.as_ms();
                // Two calls of one instant are both older than an acknowledged one.
                sent.entry(code).or_default().insert(at, (*frozen, call.acknowledged > 0));
            }
        }
        let rows = self.rows("SELECT code, state || ' ' || coalesce(status_signed_at, '') FROM license WHERE code LIKE 'STATUS%'");
        for (code, found) in rows {
            let sent = sent.get(code.as_str()).cloned().unwrap_or_default();
            let newest = sent.iter().rev().find(|(_, (_, acknowledged))| *acknowledged);
            let possible: Vec<String> = sent
                .range(newest.map_or(0, |(at, _)| *at)..)
                .map(|(at, (frozen, _))| {
                    format!("{} {at}", if *frozen { "frozen" } else { "activated" })
                })
                .chain(newest.is_none().then(|| "activated ".to_owned()))
                .collect();
            if !possible.contains(&found) {
                self.faults.push(format!("{code} is {found}, possible are {possible:?}"));
            }
            let sql = format!(
                "SELECT kind, '' FROM event WHERE code = '{code}' AND kind IN ('frozen', 'thawed') ORDER BY id"
            );
            let moves = self.rows(&sql);
            let twice = moves.windows(2).any(|pair| pair[0] == pair[1]);
            if twice || moves.first().is_some_and(|(kind, _)| kind == "thawed") {
                self.faults.push(format!("{code} was frozen or thawed twice in a row: {moves:?}"));
            }
        }
    }

    /// An acknowledged release has released its code, by one event; one cut off did so or did nothing.
    fn releases_happen_once(&mut self, calls: &[Call]) {
        let mut sent = BTreeMap::<&str, usize>::new();
        for call in calls {
            if let About::Release { code } = &call.about {
                *sent.entry(code).or_default() += call.acknowledged;
            }
        }
        let rows = self.rows(
            "SELECT code, state || ' ' || (SELECT count(*) FROM event WHERE event.code = license.code \
             AND kind = 'released') || ' ' || (SELECT count(*) FROM ledger WHERE ledger.code = license.code \
             AND scene = 'RELEASE') FROM license WHERE code LIKE 'RELEASE%'",
        );
        for (code, found) in rows {
            let released = found == "released 1 1";
            let holds = match sent.get(code.as_str()) {
                None => found == "activated 0 0",
                Some(0) => released || found == "activated 0 0",
                Some(_) => released,
            };
            if !holds {
                let acknowledged = sent.get(code.as_str());
                self.faults.push(format!("{code} (acknowledged: {acknowledged:?}) is {found}"));
            }
        }
    }
}
