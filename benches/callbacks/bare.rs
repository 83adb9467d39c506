//! What the disk and SQLite give at best: one thread, no queue, no HTTP; the statements of
//! `src/store`, prepared once and held, so many renewals to a commit.

use super::{PATH, code_of, renewal_body, rig};
use authcoded::domain::outcome::ResultCode;
use authcoded::protocol::{callback, head};
use ring::digest::{Context, SHA256, digest};
use rusqlite::{Connection, Statement, params};
use std::path::Path;
use std::time::{Duration, Instant};

/// The log is copied when it is as long as the daemon's may become.
const CHECKPOINT_PAGES: u32 = 8_192;

/// A connection set up as the daemon's.
pub(crate) struct Bare {
    connection: Connection,
    order: usize,
    events: Chain,
    callbacks: Chain,
    /// What a request's head is kept as, and the answer.
    head: String,
    reply: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Chain {
    name: &'static str,
    id: i64,
    hash: [u8; 32],
}

struct Statements<'c> {
    begin: Statement<'c>,
    commit: Statement<'c>,
    find_replay: Statement<'c>,
    find_ledger: Statement<'c>,
    find_license: Statement<'c>,
    save_license: Statement<'c>,
    add_event: Statement<'c>,
    add_ledger: Statement<'c>,
    add_callback: Statement<'c>,
    add_replay: Statement<'c>,
    keep_head: Statement<'c>,
}

impl Bare {
    /// Opens the database in `data`, which holds the codes.
    pub(crate) fn open(data: &Path) -> Self {
        let connection = Connection::open(data.join("authcoded.db")).expect("a database");
        for (pragma, value) in [
            ("journal_mode", "wal"),
            ("synchronous", "full"),
            ("foreign_keys", "on"),
            ("trusted_schema", "off"),
            ("cache_size", "-8192"),
            ("temp_store", "memory"),
        ] {
            connection.pragma_update(None, pragma, value).expect("a setting");
        }
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).expect("a setting");
        let headers = ["host", "content-type", "content-length"]
            .map(|name| (name, b"application/json".as_slice()));
        let query = format!("signature={0:064}&timestamp={0:013}&nonce={0:064}", 7);
        Self {
            connection,
            order: 0,
            events: Chain { name: "events", id: 0, hash: [0; 32] },
            callbacks: Chain { name: "callbacks", id: 0, hash: [0; 32] },
            head: head::record("POST", PATH, Some(&query), headers.into_iter()),
            reply: callback::reply(ResultCode::Done),
        }
    }

    /// Stores renewals for about `time`, `group` to a commit. Returns how many per second.
    pub(crate) fn round(&mut self, group: usize, time: Duration) -> f64 {
        let mut statements = Statements::prepare(&self.connection);
        let began = Instant::now();
        let mut stored = 0_u32;
        while began.elapsed() < time {
            statements.begin.execute([]).expect("begun");
            for _ in 0..group {
                let chains = (&mut self.events, &mut self.callbacks);
                statements.renewal(self.order, chains, &self.head, &self.reply);
                self.order += 1;
                stored += 1;
            }
            for chain in [self.events, self.callbacks] {
                let head = params![chain.name, chain.id, chain.hash];
                statements.keep_head.execute(head).expect("kept");
            }
            statements.commit.execute([]).expect("committed");
        }
        f64::from(stored) / began.elapsed().as_secs_f64()
    }
}

impl<'c> Statements<'c> {
    fn prepare(connection: &'c Connection) -> Self {
        let prepare = |sql: &str| connection.prepare(sql).expect("a statement");
        Self {
            begin: prepare("BEGIN IMMEDIATE"),
            commit: prepare("COMMIT"),
            find_replay: prepare(
                "SELECT result_code, body_digest FROM replay WHERE signed_at = ?1 AND nonce = ?2",
            ),
            find_ledger: prepare(
                "SELECT result_code, content FROM ledger \
                 WHERE code = ?1 AND scene = ?2 AND order_id = ?3 AND order_line_id = ?4",
            ),
            find_license: prepare("SELECT * FROM license WHERE code = ?1"),
            save_license: prepare(
                "INSERT INTO license VALUES (?1, ?2, NULL, NULL, NULL, NULL, ?3, ?4, NULL, 'alive', \
                 ?5, NULL, ?6, ?5, ?5, NULL, ?7, 0, NULL, NULL, ?8, NULL) \
                 ON CONFLICT (code) DO UPDATE SET state = excluded.state, \
                 frozen_since = excluded.frozen_since, \
                 frozen_applied_at = excluded.frozen_applied_at, \
                 frozen_from = excluded.frozen_from, frozen_expiry = excluded.frozen_expiry, \
                 expires_text = excluded.expires_text, expires_at = excluded.expires_at, \
                 end_confirmed_at = excluded.end_confirmed_at, \
                 marketplace_status = excluded.marketplace_status, \
                 marketplace_checked_at = excluded.marketplace_checked_at, \
                 ask_failed_at = excluded.ask_failed_at, \
                 renewals_in_force = excluded.renewals_in_force, \
                 activated_at = excluded.activated_at, \
                 status_signed_at = excluded.status_signed_at, \
                 callback_at = excluded.callback_at, buyer_waits = excluded.buyer_waits, \
                 last_error_code = excluded.last_error_code, order_id = excluded.order_id, \
                 product_id = excluded.product_id, note = excluded.note",
            ),
            add_event: prepare(
                "INSERT INTO event VALUES (?1, ?2, ?3, 'renewed', 'callback', 'renewed', \
                 'renewed', ?4, NULL, '', ?5, ?6)",
            ),
            add_ledger: prepare(
                "INSERT INTO ledger VALUES (?1, 'RENEWAL', ?2, ?3, ?4, ?5, '000000', ?6)",
            ),
            add_callback: prepare(
                "INSERT INTO callback (id, received_at, activity, code, test, signed_at, verdict, \
                 result_code, detail, duration_ms, body, request_id, head, reply, hash) \
                 VALUES (?4, ?1, 'refreshLicenseCode', ?2, 0, ?1, 'applied', '000000', '', 0, ?3, \
                 ?5, ?6, ?7, ?8)",
            ),
            add_replay: prepare("INSERT OR IGNORE INTO replay VALUES (?1, ?2, ?3, '000000')"),
            keep_head: prepare(
                "INSERT INTO chain VALUES (?1, 0, zeroblob(32), ?2, ?3) ON CONFLICT (name) \
                 DO UPDATE SET head_id = excluded.head_id, head_hash = excluded.head_hash",
            ),
        }
    }

    /// One renewal, as `lifecycle::callback` stores it.
    fn renewal(
        &mut self,
        order: usize,
        (events, callbacks): (&mut Chain, &mut Chain),
        head: &str,
        reply: &[u8],
    ) {
        let now = rig::now().as_ms();
        let code = rig::code(code_of(order));
        let nonce = format!("nonce{order:059}");
        let order_id = format!("CS{order:016}");
        let line_id = format!("CS{order:016}-000001");
        let body = renewal_body(order);
        let digest = [7_u8; 32];
        let scene = "RENEWAL";

        assert!(!self.find_replay.exists(params![now, nonce]).expect("looked up"));
        let found = self.find_ledger.exists(params![code, scene, order_id, line_id]);
        assert!(!found.expect("looked up"));
        let (renewals, expires_at): (i64, i64) = self
            .find_license
            .query_row([&code], |row| Ok((row.get(12)?, row.get(7)?)))
            .expect("a code");
        let (expires_at, text) = (expires_at + 1, "20280101000000");
        let values = params![code, "renewed", text, expires_at, now, renewals + 1, now, "OFFI7"];
        self.save_license.execute(values).expect("saved");
        let request = format!("1234abcd-{order}");
        events.follow(&[&code, "renewed", "callback", "renewed", "renewed", &order_id, &request]);
        let event = params![events.id, now, code, order_id, events.hash, request];
        self.add_event.execute(event).expect("added");
        self.add_ledger
            .execute(params![code, order_id, line_id, text, digest, now])
            .expect("added");
        callbacks.follow(&[
            "refreshLicenseCode",
            &code,
            "applied",
            "000000",
            &body,
            &request,
            head,
        ]);
        let bytes = body.as_bytes();
        let call = params![now, code, bytes, callbacks.id, request, head, reply, callbacks.hash];
        self.add_callback.execute(call).expect("added");
        self.add_replay.execute(params![now, nonce, digest]).expect("added");
    }
}

impl Chain {
    /// The next link, over what the daemon's covers.
    fn follow(&mut self, columns: &[&str]) {
        self.id += 1;
        let mut text = Vec::with_capacity(1_024);
        for column in columns {
            text.extend_from_slice(&(column.len() as u64).to_be_bytes());
            text.extend_from_slice(column.as_bytes());
        }
        let mut context = Context::new(&SHA256);
        context.update(&self.hash);
        context.update(digest(&SHA256, &text).as_ref());
        self.hash.copy_from_slice(context.finish().as_ref());
    }
}
