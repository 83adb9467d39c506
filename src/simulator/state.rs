//! All that the simulator remembers, behind one lock, and the way to change it.
//!
//! Invariant: the lock is never held while waiting; a change is on the disk before it is answered when a
//! data file is kept.

use super::calls::Calls;
use super::data_file::Keeper;
use super::dial_test::DialBook;
use super::faults::Faults;
use super::gateway::Guard;
use super::market::Market;
use super::message::{Interface, Message};
use super::pace::Pace;
use super::random::Random;
use super::tls::Acceptors;
use super::usage::Totals;
use crate::domain::time::Timestamp;
use crate::protocol::aksk::Credentials;
use crate::protocol::callback_auth::AccessKey;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

/// So many open-API requests are remembered.
const REQUESTS_KEPT: usize = 10_000;
/// So many calls to the merchant are under way at once.
const CALLS_AT_ONCE: usize = 128;

/// What is kept across runs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Codes and orders.
    pub market: Market,
    /// Calls to the merchant.
    pub calls: Calls,
    /// Usage reported.
    pub usage: Totals,
    /// Dial tests made.
    pub dial_tests: DialBook,
    /// Where the merchant is called.
    pub callback_url: Option<String>,
    /// Where the merchant is told of orders.
    #[serde(default)]
    pub order_url: Option<String>,
    /// Names codes and orders.
    pub ids: Random,
    /// Makes nonces.
    pub nonces: Random,
    /// Throws for fault rules.
    pub dice: Random,
    /// Names requests at the gateway.
    pub request_ids: Random,
}

impl Kept {
    /// Where the merchant is told what goes to this interface.
    pub(super) fn url(&self, interface: Interface) -> Option<&str> {
        match interface {
            Interface::Licences => self.callback_url.as_deref(),
            Interface::Orders => self.order_url.as_deref(),
        }
    }

    /// An empty marketplace.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            market: Market::default(),
            calls: Calls::default(),
            usage: Totals::default(),
            dial_tests: DialBook::default(),
            callback_url: None,
            order_url: None,
            ids: Random::new(seed, 1),
            nonces: Random::new(seed, 2),
            dice: Random::new(seed, 3),
            request_ids: Random::new(seed, 4),
        }
    }
}

/// One open-API request, as the console shows it.
#[derive(Debug)]
pub(super) struct Seen {
    /// When it came.
    pub at: Timestamp,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The codes it was about.
    pub licenses: Vec<String>,
    /// Whether the signature was right and the access key not locked.
    pub authentic: bool,
    /// The HTTP status answered; none when nothing was.
    pub status: Option<u16>,
    /// The error code answered.
    pub code: Option<String>,
    /// The faults that were played.
    pub faults: Vec<String>,
}

/// The whole memory.
#[derive(Debug)]
pub(super) struct State {
    /// What is kept across runs.
    pub kept: Kept,
    /// The gateway's memory of our access key.
    pub guard: Guard,
    /// Faults on order.
    pub faults: Faults,
    /// Open-API requests, oldest first.
    pub requests: VecDeque<Seen>,
    /// How often each path was answered with each code, since the start.
    pub counters: BTreeMap<String, u64>,
}

impl State {
    /// A memory that begins with what was kept.
    pub(super) fn new(kept: Kept) -> Self {
        Self {
            kept,
            guard: Guard::default(),
            faults: Faults::default(),
            requests: VecDeque::new(),
            counters: BTreeMap::new(),
        }
    }

    /// Remembers a request.
    pub(super) fn saw(&mut self, seen: Seen) {
        let name = seen.path.rsplit("global/").next().unwrap_or_default();
        let code = seen.code.as_deref().unwrap_or("no answer");
        *self.counters.entry(format!("{name} {code}")).or_default() += 1;
        if self.requests.len() == REQUESTS_KEPT {
            self.requests.pop_front();
        }
        self.requests.push_back(seen);
    }
}

/// Everything that connections and tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    /// The marketplace's time.
    pub pace: Pace,
    /// Signs the calls.
    pub access_key: AccessKey,
    /// Signs order notifications; without it none is sent.
    pub order_key: Option<AccessKey>,
    /// The key before the present one, if there was one.
    pub old_key: Option<AccessKey>,
    /// Signs calls that a fault rule wants signed wrong.
    pub wrong_key: AccessKey,
    /// What open-API requests must be signed with.
    pub credentials: Credentials,
    /// Calls the merchant.
    pub client: reqwest::Client,
    /// Shakes hands, if TLS is served.
    pub tls: Option<Acceptors>,
    /// Bounds the calls under way.
    pub permits: Semaphore,
    /// How long after its end a code is frozen by itself; zero is never.
    pub grace: Duration,
    /// How long after that it is released by itself; zero is never.
    pub retention: Duration,
    state: Mutex<State>,
    due: mpsc::UnboundedSender<u64>,
    keeper: Keeper,
}

/// What [`Shared`] is made of beside its memory.
#[derive(Debug)]
pub(super) struct Parts {
    /// The marketplace's time.
    pub pace: Pace,
    /// The key of the calls.
    pub access_key: AccessKey,
    /// See [`Shared::order_key`].
    pub order_key: Option<AccessKey>,
    /// See [`Shared::old_key`].
    pub old_key: Option<AccessKey>,
    /// Another key.
    pub wrong_key: AccessKey,
    /// The merchant's credentials.
    pub credentials: Credentials,
    /// The HTTP client.
    pub client: reqwest::Client,
    /// See [`Shared::tls`].
    pub tls: Option<Acceptors>,
    /// See [`Shared::grace`].
    pub grace: Duration,
    /// See [`Shared::retention`].
    pub retention: Duration,
    /// Where calls go to be delivered.
    pub due: mpsc::UnboundedSender<u64>,
    /// Writes the data file.
    pub keeper: Keeper,
}

impl Shared {
    /// Puts the parts together.
    pub(super) fn new(parts: Parts, state: State) -> Self {
        Self {
            pace: parts.pace,
            access_key: parts.access_key,
            order_key: parts.order_key,
            old_key: parts.old_key,
            wrong_key: parts.wrong_key,
            credentials: parts.credentials,
            client: parts.client,
            tls: parts.tls,
            permits: Semaphore::new(CALLS_AT_ONCE),
            grace: parts.grace,
            retention: parts.retention,
            state: Mutex::new(state),
            due: parts.due,
            keeper: parts.keeper,
        }
    }

    /// The key that signs what goes to this interface, if there is one.
    pub(super) fn key(&self, interface: Interface) -> Option<&AccessKey> {
        match interface {
            Interface::Licences => Some(&self.access_key),
            Interface::Orders => self.order_key.as_ref(),
        }
    }

    /// Looks at the memory.
    pub(super) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// Changes what need not be kept across runs.
    pub(super) fn note<T>(&self, note: impl FnOnce(&mut State) -> T) -> T {
        note(&mut self.lock())
    }

    /// Changes what is kept, and waits until it is on the disk if a data file is kept.
    pub(super) async fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let (result, version) = {
            let mut state = self.lock();
            let result = change(&mut state);
            // Under the lock, so that versions are in the order of the changes.
            (result, self.keeper.changed())
        };
        self.keeper.written(version).await;
        result
    }

    /// Takes in messages for the merchant, and has them delivered. Part of a change.
    pub(super) fn tell(&self, state: &mut State, messages: Vec<Message>) {
        let now = self.pace.now();
        for message in messages {
            let id = state.kept.calls.add(message, now);
            self.deliver(id);
        }
    }

    /// Has a pending call delivered.
    pub(super) fn deliver(&self, id: u64) {
        // The receiver is gone only while stopping; the call is kept and goes out after a restart.
        _ = self.due.send(id);
    }

    /// Why the data file could not be written, if the last try failed.
    pub(super) fn write_error(&self) -> Option<String> {
        self.keeper.error()
    }

    /// Writes the data file whenever something has changed. Runs until it is dropped.
    pub(super) async fn keep_writing(&self) {
        self.keeper.run(|| serde_json::to_vec(&FileView::of(&self.lock().kept))).await;
    }

    /// Writes the data file now, for the last time.
    pub(super) async fn write_last(&self) {
        self.keeper.write_now(|| serde_json::to_vec(&FileView::of(&self.lock().kept))).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a change would be a bug of ours; its half-made change is still the best we know.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of the data file's form.
pub(super) const FORMAT: u32 = 1;

#[derive(Serialize)]
struct FileView<'a> {
    format: u32,
    #[serde(flatten)]
    kept: &'a Kept,
}

impl<'a> FileView<'a> {
    const fn of(kept: &'a Kept) -> Self {
        Self { format: FORMAT, kept }
    }
}
