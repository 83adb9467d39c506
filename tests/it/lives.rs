//! Random lives of codes through the whole daemon, over HTTP and restarts, against a plain model of the
//! marketplace: callbacks in any order, repeated or given up, answers of all kinds or none, operators.
//!
//! [`World::settle`] then lets the marketplace be well and deliver what it has not given up;
//! [`verdict`] says what must hold.

mod truth;
mod verdict;

use super::stage::{Marketplace, Stage};
use super::wire::{self, Signed};
use authcoded::clock::Clock;
use authcoded::config::Config;
use authcoded::daemon::{Addresses, Daemon};
use authcoded::domain::time::{HOUR_MS, MINUTE_MS, Timestamp};
use proptest::prelude::*;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use truth::{About, Act, Message, Trouble, Truth};

const PATIENCE: Duration = Duration::from_secs(30);
/// A signature older than this is renewed: the window is a minute.
const FRESH_MS: i64 = 50_000;

/// One step of a history; `pick` chooses among what there is.
#[derive(Debug, Clone)]
enum Step {
    Register { code: usize, received: bool, activate: bool },
    Order { code: usize, what: &'static str },
    Use { code: usize },
    Act { code: usize, act: Act },
    Deliver { pick: usize },
    Repeat { pick: usize, newly_signed: bool },
    GiveUp { pick: usize },
    Trouble(Option<Trouble>),
    Restart,
    Pass { minutes: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let code = || 0..3usize;
    let orders = prop_oneof![3 => Just("received"), 3 => Just("activate"), 6 => Just("query"), 1 => Just("release")];
    let acts = prop_oneof![
        4 => Just(Act::Receive), 8 => Just(Act::Renew), 4 => Just(Act::Unrenew),
        6 => Just(Act::Freeze), 4 => Just(Act::Unfreeze), 1 => Just(Act::Refund),
    ];
    let troubles = prop_oneof![
        Just(Trouble::Unreachable),
        Just(Trouble::Lost),
        Just(Trouble::Internal),
        Just(Trouble::Unknown),
        Just(Trouble::NotActivated),
    ];
    prop_oneof![
        6 => (code(), any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(code, received, activate)| Step::Register { code, received, activate }),
        3 => (code(), orders).prop_map(|(code, what)| Step::Order { code, what }),
        3 => code().prop_map(|code| Step::Use { code }),
        20 => (code(), acts).prop_map(|(code, act)| Step::Act { code, act }),
        20 => (0..64usize).prop_map(|pick| Step::Deliver { pick }),
        6 => (0..64usize, any::<bool>())
            .prop_map(|(pick, newly_signed)| Step::Repeat { pick, newly_signed }),
        3 => (0..64usize).prop_map(|pick| Step::GiveUp { pick }),
        2 => proptest::option::weighted(0.6, troubles).prop_map(Step::Trouble),
        1 => Just(Step::Restart),
        3 => (1..2_000i64).prop_map(|minutes| Step::Pass { minutes }),
    ]
}

/// A message on its way.
struct Call {
    message: Message,
    /// The time its signature names, which orders status calls.
    stamp: Timestamp,
    given_up: bool,
    last: Option<Signed>,
    /// Answers by nonce.
    answers: BTreeMap<String, String>,
    /// The answer that every newly signed repeat must get, once an order has had its effect.
    settled: Option<String>,
}

impl Call {
    fn is_open(&self) -> bool {
        !self.given_up && !self.answers.values().any(|code| code == "000000")
    }
}

/// The daemon, the marketplace, and what passed between them.
struct World {
    runtime: Runtime,
    stage: Stage,
    truth: Arc<Mutex<Truth>>,
    daemon: Option<Daemon>,
    calls: Vec<Call>,
    nonces: u64,
    /// Codes whose activation the daemon was asked for.
    wanted: BTreeSet<String>,
    /// Codes of which the daemon cannot know whether they were frozen for a violation.
    doubtful: BTreeSet<String>,
    /// Codes that the daemon once called released.
    released: BTreeSet<String>,
}

impl World {
    fn new() -> Self {
        let truth = Arc::new(Mutex::new(Truth::new(Clock::system())));
        let answering = Arc::clone(&truth);
        let marketplace = Marketplace::start(move |asked, code| {
            answering.lock().expect("not poisoned").answer(asked, code)
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let mut world = Self {
            runtime,
            stage: Stage::new(marketplace),
            truth,
            daemon: None,
            calls: Vec::new(),
            nonces: 0,
            wanted: BTreeSet::new(),
            doubtful: BTreeSet::new(),
            released: BTreeSet::new(),
        };
        world.restart(0);
        world
    }

    fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().expect("not poisoned")
    }

    fn now(&self) -> Timestamp {
        self.truth().clock.now()
    }

    fn at(&self) -> Addresses {
        self.daemon.as_ref().expect("running").addresses
    }

    fn stop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            self.runtime.block_on(daemon.stop()).expect("it stops");
        }
    }

    /// Stops the daemon, lets `ms` pass, and starts it again.
    fn restart(&mut self, ms: i64) {
        self.stop();
        let origin = self.now().plus_ms(ms);
        let clock = Clock::scaled(Clock::system().now().as_ms(), origin, 1);
        self.truth().clock = clock.clone();
        let (config, _) = Config::load_checked(&self.stage.config()).expect("a configuration");
        let secrets = config.load_secrets().expect("secrets");
        let start = Daemon::start(config, secrets, clock);
        self.daemon = Some(self.runtime.block_on(start).expect("it starts"));
    }

    fn admin(&self, method: &str, path: &str, body: &Value) -> wire::Reply {
        wire::admin(self.at().admin, method, path, body).expect("an answer")
    }

    /// The daemon's licence, if it holds one. Whatever was released must be.
    fn license(&mut self, code: &str) -> Option<Value> {
        let reply = self.admin("GET", &format!("/v1/licenses/{code}"), &Value::Null);
        let license = (reply.status == 200).then(|| reply.json());
        let released = license.as_ref().is_some_and(|license| license["state"] == "released");
        if released {
            self.released.insert(code.to_owned());
        }
        assert!(released || !self.released.contains(code), "revived: {license:?}");
        license
    }

    fn live(&mut self, step: &Step) {
        let name = |code: usize| format!("PL{code}");
        match *step {
            Step::Register { code, received, activate } => {
                self.register(&name(code), received, activate);
            }
            Step::Order { code, what } => {
                let path = format!("/v1/licenses/{}/{what}", name(code));
                let reply = self.admin("POST", &path, &Value::Null);
                assert!([200, 404, 409].contains(&reply.status), "{reply:?}");
            }
            Step::Use { code } => {
                let to = self.at().software.expect("a listener");
                wire::entitlement(to, &name(code)).expect("an answer");
            }
            Step::Act { code, act } => self.act(&name(code), act),
            Step::Deliver { pick } => {
                let open: Vec<_> = self.places(Call::is_open);
                if let Some(&place) = open.get(pick % open.len().max(1)) {
                    self.deliver(place);
                }
            }
            Step::Repeat { pick, newly_signed } => {
                let sent: Vec<_> = self.places(|call| call.last.is_some());
                if let Some(&place) = sent.get(pick % sent.len().max(1)) {
                    self.repeat(place, newly_signed);
                }
            }
            Step::GiveUp { pick } => {
                // Nothing but the call tells that a violation has ended.
                let open =
                    |call: &Call| call.is_open() && call.message.about != About::Unfreeze(false);
                let open: Vec<_> = self.places(open);
                if let Some(&place) = open.get(pick % open.len().max(1)) {
                    self.calls[place].given_up = true;
                }
            }
            Step::Trouble(trouble) => self.truth().trouble = trouble,
            Step::Restart => self.restart(0),
            Step::Pass { minutes } => self.restart(minutes * MINUTE_MS),
        }
        for code in 0..3 {
            self.license(&name(code));
        }
    }

    fn register(&mut self, code: &str, received: bool, activate: bool) {
        let body = json!({ "code": code, "received": received, "activate": activate });
        if activate {
            // Before it is asked for: the marketplace may deny the code again at once.
            self.truth().codes.get_mut(code).expect("known").denied = false;
            self.wanted.insert(code.to_owned());
        }
        let reply = self.admin("POST", "/v1/licenses", &body);
        assert!([200, 201].contains(&reply.status), "{reply:?}");
    }

    fn act(&mut self, code: &str, act: Act) {
        let messages = self.truth().act(code, act);
        for message in messages {
            let earlier = self.calls.iter().filter(|call| call.message.code == code);
            let stamp = earlier.map(|call| call.stamp.plus_ms(1)).max();
            let stamp = message.at.max(stamp.unwrap_or(message.at));
            let (answers, settled) = (BTreeMap::new(), None);
            self.calls.push(Call { message, stamp, given_up: false, last: None, answers, settled });
        }
    }

    fn places(&self, choose: impl Fn(&Call) -> bool) -> Vec<usize> {
        let chosen = self.calls.iter().enumerate().filter(|(_, call)| choose(call));
        chosen.map(|(place, _)| place).collect()
    }

    /// No later status call of its code has been made.
    fn is_newest_status(&self, place: usize) -> bool {
        let code = &self.calls[place].message.code;
        !self.calls[place + 1..].iter().any(|it| it.message.is_status() && it.message.code == *code)
    }

    /// Sends a call that has not been answered 000000. A status call that is too old to be signed with
    /// its own time is signed anew if nothing newer was said of its code, and given up otherwise.
    fn deliver(&mut self, place: usize) {
        let now = self.now();
        let message = self.calls[place].message.clone();
        if now.ms_since(self.calls[place].stamp) > FRESH_MS {
            if message.is_status() && !self.is_newest_status(place) {
                self.calls[place].given_up = true;
                return;
            }
            self.calls[place].stamp = now;
        }
        let stamp = self.calls[place].stamp;
        if message.about == About::Freeze && self.looks_unpaid(&message.code, stamp) {
            self.doubtful.insert(message.code.clone());
        }
        self.nonces += 1;
        let nonce = format!("n{}", self.nonces);
        let signed = Signed::new(message.body, stamp, nonce);
        self.send(place, signed);
    }

    /// Whether the daemon may take a freeze signed at `stamp` for one after the end: it came late, or the
    /// daemon holds another end than the marketplace does.
    fn looks_unpaid(&mut self, code: &str, stamp: Timestamp) -> bool {
        let end = self.truth().codes[code].end;
        let license = self.license(code);
        stamp >= end || license.is_some_and(|license| license["expires_at"] != end.to_string())
    }

    fn repeat(&mut self, place: usize, newly_signed: bool) {
        let call = &self.calls[place];
        let (now, last) = (self.now(), call.last.clone().expect("sent before"));
        if !newly_signed {
            if now.ms_since(last.signed_at) < FRESH_MS {
                self.send(place, last);
            }
            return;
        }
        let stamp = if call.message.is_status() { call.stamp } else { now };
        if now.ms_since(stamp) < FRESH_MS && !self.would_freeze_again(place) {
            self.nonces += 1;
            let signed = Signed::new(last.body, stamp, format!("n{}", self.nonces));
            self.send(place, signed);
        }
    }

    /// A freeze that has been lifted, and of which a query alone may have told so: signed anew, it is a freeze
    /// for all that the daemon can know, and only a call ends it.
    fn would_freeze_again(&self, place: usize) -> bool {
        let message = &self.calls[place].message;
        let lifted = self.truth().codes[&message.code].frozen.is_none();
        let told_since = self.calls[place + 1..].iter().any(|later| {
            later.message.is_status()
                && later.message.code == message.code
                && !later.answers.is_empty()
        });
        message.about == About::Freeze && lifted && !told_since
    }

    /// Sends, and checks the answer against what the daemon held before and holds after.
    fn send(&mut self, place: usize, signed: Signed) {
        let Message { code, about, .. } = self.calls[place].message.clone();
        let before = self.license(&code);
        let answer = signed.send(self.at().callback).expect("an answer");
        let after = self.license(&code);
        let call = &mut self.calls[place];
        let over = |license: &Option<Value>| {
            license.as_ref().is_some_and(|license| license["state"] == "released")
        };
        if let Some(first) = call.answers.get(&signed.nonce) {
            assert_eq!(&answer, first, "the same call, answered otherwise: {:?}", call.message);
        } else if let Some(settled) = &call.settled {
            assert_eq!(&answer, settled, "an order, repeated: {:?}", call.message);
        } else if about == About::Release || about == About::Freeze && before.is_some() {
            assert_eq!(answer, "000000", "{:?}", call.message);
        } else if over(&before) && !call.message.is_status() {
            assert_eq!(answer, "000003", "of a released code: {:?}", call.message);
        } else if before.is_some() && !over(&after) {
            assert_eq!(answer, "000000", "{:?}", call.message);
        }
        // Also of a code that was adopted for its sake, and found to be over. The same call again gets its stored
        // answer, which says nothing of the order.
        let known = before.is_some() || after.is_some();
        let is_new = !call.answers.contains_key(&signed.nonce);
        if is_new && !call.message.is_status() && (answer == "000000" || known) {
            call.settled = Some(answer.clone());
        }
        call.answers.insert(signed.nonce.clone(), answer);
        call.last = Some(signed);
    }

    /// The marketplace is well again and delivers, in order, what it has not given up; hours pass, in
    /// which whatever is owed falls due; then every code is asked about once more.
    fn settle(&mut self) {
        self.truth().trouble = None;
        for place in self.places(Call::is_open) {
            self.deliver(place);
        }
        self.restart(7 * HOUR_MS);
        self.wait_until_nothing_is_owed();
        let codes: Vec<String> = self.truth().codes.keys().cloned().collect();
        for code in &codes {
            if !self.wanted.contains(code) || self.truth().codes[code].denied {
                self.register(code, true, true);
            }
        }
        self.wait_until_nothing_is_owed();
        for code in &codes {
            let path = format!("/v1/licenses/{code}/query");
            let reply = self.admin("POST", &path, &Value::Null);
            assert_eq!(reply.json()["outcome"], "done", "{reply:?}");
        }
        self.wait_until_nothing_is_owed();
    }

    fn wait_until_nothing_is_owed(&self) {
        let database = self.database();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let owed: i64 = database
                .query_row(
                    "SELECT count(*) FROM outbox WHERE due_at <= ?1",
                    [self.now().as_ms()],
                    |row| row.get(0),
                )
                .expect("a count");
            if owed == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "{owed} calls are still owed");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn database(&self) -> Connection {
        let file = self.stage.data().join("authcoded.db");
        Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("opens")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A whole life, and what must hold of it.
fn lived(steps: &[Step]) {
    let mut world = World::new();
    for step in steps {
        world.live(step);
    }
    world.settle();
    world.codes_are_as_the_marketplace_says();
    world.orders_were_applied_once();
    world.the_chain_holds();
}

#[test]
fn an_activation_that_was_asked_for_waits_until_the_freeze_is_over() {
    let act = |act| Step::Act { code: 1, act };
    let register = Step::Register { code: 1, received: true, activate: true };
    let (freeze, unfreeze, deliver) =
        (act(Act::Freeze), act(Act::Unfreeze), Step::Deliver { pick: 0 });
    lived(&[freeze.clone(), deliver.clone(), register.clone(), unfreeze.clone(), deliver.clone()]);
    lived(&[
        Step::Trouble(Some(Trouble::Unreachable)),
        register,
        freeze,
        deliver.clone(),
        Step::Pass { minutes: 60 },
        Step::Trouble(None),
        Step::Pass { minutes: 60 },
        unfreeze,
        deliver,
    ]);
}

#[test]
fn a_renewal_of_a_code_that_is_found_to_be_over_is_refused_with_the_same_answer() {
    let act = |act| Step::Act { code: 2, act };
    lived(&[act(Act::Renew), act(Act::Refund)]);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default()
    })]

    #[test]
    fn a_code_that_is_alive_ends_up_usable_and_nothing_happens_twice(
        steps in proptest::collection::vec(step(), 15..35),
    ) {
        lived(&steps);
    }
}
