//! The marketplace as many clients at once, who write down every call before it leaves.

use super::Dice;
use crate::wire::{Signed, refresh, release, status};
use authcoded::clock::Clock;
use authcoded::domain::time::{DAY_MS, DateText, MINUTE_MS};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread::Scope;

/// A set of codes with one use.
#[derive(Clone, Copy)]
pub(super) struct Codes {
    name: &'static str,
    count: usize,
}

impl Codes {
    pub(super) fn codes(self) -> impl Iterator<Item = String> {
        (0..self.count).map(move |n| self.code(n))
    }

    fn code(self, n: usize) -> String {
        format!("{}{n}", self.name)
    }
}

pub(super) const RENEWALS: Codes = Codes { name: "RENEW", count: 8 };
pub(super) const STATUSES: Codes = Codes { name: "STATUS", count: 2 };
/// One for each kill.
pub(super) const RELEASES: Codes = Codes { name: "RELEASE", count: super::KILLS };

/// Clients that renew; each status code has a client of its own, and one releases.
const RENEWING: usize = 4;
/// An exact repeat must still be inside the marketplace's minute.
const REPEATABLE_MS: i64 = 45_000;

/// What a call is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    Renewal { code: String, order: String },
    Status { code: String, frozen: bool },
    Release { code: String },
}

/// A call as it left.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) about: About,
    pub(super) signed: Signed,
    /// How often it left, and how often its 000000 came whole.
    pub(super) sent: usize,
    pub(super) acknowledged: usize,
}

/// Every call of a shard.
pub(super) struct Book {
    pages: Mutex<Pages>,
}

#[derive(Default)]
pub(super) struct Pages {
    pub(super) calls: Vec<Call>,
    pub(super) faults: Vec<String>,
    orders: usize,
    released: usize,
    /// For each status code: the last signed timestamp, and the last that was acknowledged.
    status: BTreeMap<String, (i64, Option<i64>)>,
}

impl Book {
    pub(super) fn new() -> Self {
        Self { pages: Mutex::default() }
    }

    pub(super) fn read<T>(&self, work: impl FnOnce(&mut Pages) -> T) -> T {
        work(&mut self.pages.lock().expect("not poisoned"))
    }

    /// Calls acknowledged, and calls that were sent once more than they were answered.
    pub(super) fn counts(&self) -> (usize, usize) {
        self.read(|pages| {
            let acknowledged = pages.calls.iter().map(|call| call.acknowledged).sum();
            let sent: usize = pages.calls.iter().map(|call| call.sent).sum();
            (acknowledged, sent - acknowledged)
        })
    }
}

impl Pages {
    /// Writes a call down, newly signed now. Returns its place.
    fn sign(&mut self, about: About, body: String, dice: &mut Dice) -> usize {
        let signed = Signed::new(body, Clock::system().now(), format!("{:016x}", dice.roll()));
        self.calls.push(Call { about, signed, sent: 0, acknowledged: 0 });
        self.calls.len() - 1
    }

    /// The same call again, newly signed, as the marketplace is thought to retry.
    fn retry(&mut self, earlier: usize, dice: &mut Dice) -> usize {
        let call = &self.calls[earlier];
        let (about, body) = (call.about.clone(), call.signed.body.clone());
        self.sign(about, body, dice)
    }

    /// Earlier calls that `choose` takes.
    fn find(&self, choose: impl Fn(&Call) -> bool) -> Vec<usize> {
        let chosen = self.calls.iter().enumerate().filter(|(_, call)| choose(call));
        chosen.map(|(place, _)| place).collect()
    }

    fn next_renewal(&mut self, dice: &mut Dice) -> usize {
        let now = Clock::system().now();
        let renewal = |call: &Call| matches!(call.about, About::Renewal { .. });
        let roll = dice.below(100);
        let earlier = match roll {
            0..60 => vec![],
            60..75 => self.find(|call| renewal(call) && call.acknowledged > 0),
            75..90 => self.find(|call| renewal(call) && call.acknowledged == 0),
            _ => self
                .find(|call| renewal(call) && now.ms_since(call.signed.signed_at) < REPEATABLE_MS),
        };
        if !earlier.is_empty() {
            let chosen = earlier[dice.below(earlier.len())];
            return if roll < 90 { self.retry(chosen, dice) } else { chosen };
        }
        self.orders += 1;
        let (code, order) = (RENEWALS.code(dice.below(RENEWALS.count)), self.orders);
        // Mostly later than those before; now and then earlier, as when orders overtake each other.
        let minutes = if dice.below(10) == 0 { order / 2 } else { order };
        let end = now.plus_ms(400 * DAY_MS + i64::try_from(minutes).expect("few") * MINUTE_MS);
        let order = format!("CS{order}");
        let body = refresh("RENEWAL", &code, &order, DateText::from_utc(end).as_str());
        self.sign(About::Renewal { code, order }, body, dice)
    }

    fn next_status(&mut self, code: &str, dice: &mut Dice) -> usize {
        let frozen = dice.below(2) == 0;
        let body = status(code, if frozen { "FREEZE" } else { "UNFREEZE" });
        let (last, acknowledged) = self.status.get(code).copied().unwrap_or_default();
        let now = Clock::system().now();
        let overtaken = acknowledged.filter(|_| dice.below(8) == 0).map(|at| at - 1);
        let at = overtaken.unwrap_or_else(|| now.as_ms().max(last + 1));
        self.status.insert(code.to_owned(), (last.max(at), acknowledged));
        let (code, nonce) = (code.to_owned(), format!("{:016x}", dice.roll()));
        let at = now.plus_ms(at - now.as_ms());
        let signed = Signed::new(body, at, nonce);
        let about = About::Status { code, frozen };
        self.calls.push(Call { about, signed, sent: 0, acknowledged: 0 });
        self.calls.len() - 1
    }

    fn next_release(&mut self, first: bool, dice: &mut Dice) -> usize {
        if first && self.released < RELEASES.count {
            let code = RELEASES.code(self.released);
            self.released += 1;
            let body = release(&code, &format!("REFUND-{code}"));
            return self.sign(About::Release { code }, body, dice);
        }
        let earlier = self.find(|call| matches!(call.about, About::Release { .. }));
        self.retry(earlier[dice.below(earlier.len())], dice)
    }

    fn acknowledge(&mut self, place: usize) {
        let call = &mut self.calls[place];
        call.acknowledged += 1;
        if let About::Status { code, .. } = &call.about {
            let at = call.signed.signed_at.as_ms();
            let (_, acknowledged) = self.status.get_mut(code).expect("sent before");
            *acknowledged = (*acknowledged).max(Some(at));
        }
    }
}

/// Starts the clients; each ends with its first call that is not answered. Tells of each 000000.
pub(super) fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    book: &'scope Book,
    dice: &mut Dice,
    to: SocketAddr,
    dying: &'scope AtomicBool,
) -> mpsc::Receiver<()> {
    let (acknowledged, told) = mpsc::channel();
    for _ in 0..RENEWING {
        let mut dice = dice.fork();
        let next = move |pages: &mut Pages| pages.next_renewal(&mut dice);
        let client = Client { book, to, dying, acknowledged: acknowledged.clone() };
        scope.spawn(move || client.work(next));
    }
    for code in STATUSES.codes() {
        let mut dice = dice.fork();
        let next = move |pages: &mut Pages| pages.next_status(&code, &mut dice);
        let client = Client { book, to, dying, acknowledged: acknowledged.clone() };
        scope.spawn(move || client.work(next));
    }
    let (mut dice, mut first) = (dice.fork(), true);
    let next = move |pages: &mut Pages| pages.next_release(std::mem::take(&mut first), &mut dice);
    let client = Client { book, to, dying, acknowledged };
    scope.spawn(move || client.work(next));
    told
}

/// One connection after the other.
struct Client<'a> {
    book: &'a Book,
    to: SocketAddr,
    dying: &'a AtomicBool,
    acknowledged: mpsc::Sender<()>,
}

impl Client<'_> {
    /// Makes the calls that `next` writes down, until one is not answered.
    fn work(&self, mut next: impl FnMut(&mut Pages) -> usize) {
        loop {
            let (place, signed) = self.book.read(|pages| {
                let place = next(pages);
                pages.calls[place].sent += 1;
                (place, pages.calls[place].signed.clone())
            });
            let answer = signed.send(self.to);
            let alive = !self.dying.load(Ordering::SeqCst);
            if answer.as_deref().is_ok_and(|code| code == "000000") {
                _ = self.acknowledged.send(());
                self.book.read(|pages| pages.acknowledge(place));
            } else if answer.is_ok() || alive {
                let fault = format!("answered {answer:?}: {}", signed.body);
                self.book.read(|pages| pages.faults.push(fault));
            }
            if answer.is_err() {
                return;
            }
        }
    }
}
