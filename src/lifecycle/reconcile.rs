//! The sweep: codes are compared with the marketplace, the more often the more it matters, and all of
//! them after a gap in which we were deaf. [`crate::domain::sweep`] says which are due.
//!
//! Codes are read page by page, so memory does not grow with their number; a sweep goes on behind the
//! code at which the one before it ended, so none waits longer because others come first. Invariant: each
//! answer is decided from the row as it is then.

use super::{CallOutcome, Lifecycle};
use crate::domain::license::{Code, License};
use crate::domain::sweep::{is_due, is_watched};
use crate::domain::time::Timestamp;
use crate::marketplace::{CallResult, Effort};
use crate::store::{LicenseFilter, Store, StoreError};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Codes read at once.
const PAGE: usize = 500;
/// Questions asked at once. Each gives way to those that somebody waits for.
const ASKED_AT_ONCE: usize = 3;
/// Calls in hand: the answers of so many share a commit while the next questions are asked.
const IN_HAND: usize = 16;

/// What a sweep would do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plan {
    /// Codes there are.
    pub codes: u64,
    /// Codes that are due.
    pub due: u64,
    /// The calls that takes: one for each, or for each batch of them.
    pub calls: u64,
    /// How long that takes at the configured pace, in seconds.
    pub seconds: u64,
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sweep {
    /// Codes looked at.
    pub seen: u64,
    /// Codes that were answered, or asked about in vain.
    pub asked: u64,
    /// Those without a usable answer, or unknown there.
    pub failed: u64,
    /// Those whose answer told what we did not know.
    pub repaired: u64,
    /// Codes that are still due: time was up, or the queue is stopped.
    pub left: u64,
    /// When the queue opens again that was found stopped.
    pub stopped_until: Option<Timestamp>,
}

/// Once around the codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// Those that are near their end or have just changed.
    Watched,
    /// All.
    All,
}

impl Round {
    /// The fact that holds the code which the last round of this kind came to.
    const fn mark(self) -> &'static str {
        match self {
            Self::Watched => "sweep_watched_at",
            Self::All => "sweep_at",
        }
    }

    fn takes(self, license: &License, now: Timestamp) -> bool {
        match self {
            Self::Watched => is_watched(license, now),
            Self::All => true,
        }
    }
}

/// What came of one code.
enum Compared {
    Asked { failed: bool, repaired: bool },
    Stopped(Timestamp),
}

impl Lifecycle {
    /// Compares the codes that are due: first, for at most half of the time, those that are watched.
    /// Ends when all are done, at `until`, or when the marketplace refuses us.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reconcile(self: &Arc<Self>, until: Timestamp) -> Result<Sweep, StoreError> {
        // At the start nobody has noticed yet that we were down.
        self.mark_hearing().await?;
        let now = self.clock.now();
        let half = now.plus_ms(until.ms_since(now) / 2);
        let mut sweep = Sweep::default();
        self.go_round(Round::Watched, half, &mut sweep).await?;
        sweep.seen = 0;
        let done =
            sweep.stopped_until.is_none() && self.go_round(Round::All, until, &mut sweep).await?;
        if !done {
            sweep.left = self.due().await?.due;
        }
        self.settle_gaps(&sweep, done).await?;
        Ok(sweep)
    }

    /// What a sweep would do now, at `requests_per_second`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_plan(&self, requests_per_second: u32) -> Result<Plan, StoreError> {
        let plan = self.due().await?;
        Ok(Plan { seconds: plan.calls.div_ceil(u64::from(requests_per_second.max(1))), ..plan })
    }

    /// Counts the codes, and those that are due.
    async fn due(&self) -> Result<Plan, StoreError> {
        let (now, deaf_until) = (self.clock.now(), self.deaf_until()?);
        let mut plan = Plan::default();
        let mut pages = Pages::behind(None);
        while let Some(page) = pages.next(&self.store).await? {
            plan.codes += page.len() as u64;
            plan.due +=
                page.iter().filter(|license| is_due(license, deaf_until, now)).count() as u64;
        }
        plan.calls = plan.due.div_ceil(self.marketplace.batches().query as u64);
        Ok(plan)
    }

    /// Compares the codes of a round that are due. Returns whether it came around.
    async fn go_round(
        self: &Arc<Self>,
        round: Round,
        until: Timestamp,
        sweep: &mut Sweep,
    ) -> Result<bool, StoreError> {
        let mut hand = Hand::new(Arc::clone(self));
        let mut pages = Pages::behind(self.store.read(|snapshot| snapshot.fact(round.mark()))?);
        while let Some(page) = pages.next(&self.store).await? {
            let deaf_until = self.deaf_until()?;
            let mut last = None;
            for license in page {
                let now = self.clock.now();
                sweep.seen += 1;
                if !round.takes(&license, now) || !is_due(&license, deaf_until, now) {
                    continue;
                }
                hand.make_room(sweep).await?;
                if sweep.stopped_until.is_some() || self.clock.now() >= until {
                    self.set_mark(round, last).await?;
                    hand.empty(sweep).await?;
                    return Ok(false);
                }
                last = Some(license.code.clone());
                hand.take(license.code);
            }
            self.set_mark(round, last).await?;
        }
        hand.empty(sweep).await?;
        Ok(sweep.stopped_until.is_none())
    }

    async fn set_mark(&self, round: Round, code: Option<Code>) -> Result<(), StoreError> {
        let Some(code) = code else { return Ok(()) };
        self.store.write(move |tx| tx.set_fact(round.mark(), code.as_str())).await
    }

    /// Asks about a few codes, in one call if the configuration asks for that, and lets the answers have their
    /// effect. Leaves out those asked about since their page was read. A stop of the queue is no failure of a
    /// code.
    async fn compare(
        &self,
        codes: Vec<Code>,
        asking: &Semaphore,
    ) -> Result<Vec<Compared>, StoreError> {
        let turn = asking.acquire().await;
        let (now, deaf_until) = (self.clock.now(), self.deaf_until()?);
        let mut due = Vec::with_capacity(codes.len());
        for code in codes {
            let license = self.store.read(|snapshot| snapshot.license(&code))?;
            if license.is_some_and(|license| is_due(&license, deaf_until, now)) {
                due.push(code);
            }
        }
        let answers = self.ask_many(due, Effort::Background).await;
        drop(turn);
        let mut compared = Vec::with_capacity(answers.len());
        for (code, call) in answers {
            if let CallResult::Stopped { until } = call.result {
                compared.push(Compared::Stopped(until));
                continue;
            }
            let heard = self.hear(&code, call, false).await?;
            let failed = heard.outcome != CallOutcome::Done;
            compared.push(Compared::Asked { failed, repaired: heard.changed });
        }
        Ok(compared)
    }
}

/// The codes that are being compared.
struct Hand {
    lifecycle: Arc<Lifecycle>,
    asking: Arc<Semaphore>,
    under_way: JoinSet<Result<Vec<Compared>, StoreError>>,
    /// Codes for the next call, fewer than `batch`.
    gathered: Vec<Code>,
    /// How many codes one call is about.
    batch: usize,
    /// How many calls may be in hand: the first goes alone, for after a stop it is the careful one.
    room: usize,
}

impl Hand {
    fn new(lifecycle: Arc<Lifecycle>) -> Self {
        let asking = Arc::new(Semaphore::new(ASKED_AT_ONCE));
        let batch = lifecycle.marketplace.batches().query;
        let gathered = Vec::with_capacity(batch);
        Self { lifecycle, asking, under_way: JoinSet::new(), gathered, batch, room: 1 }
    }

    fn take(&mut self, code: Code) {
        self.gathered.push(code);
        if self.gathered.len() >= self.batch {
            self.ask();
        }
    }

    fn ask(&mut self) {
        let (lifecycle, asking) = (Arc::clone(&self.lifecycle), Arc::clone(&self.asking));
        let codes = std::mem::take(&mut self.gathered);
        self.under_way.spawn(async move { lifecycle.compare(codes, &asking).await });
    }

    async fn make_room(&mut self, sweep: &mut Sweep) -> Result<(), StoreError> {
        while self.under_way.len() >= self.room {
            self.put_down(sweep).await?;
        }
        Ok(())
    }

    async fn empty(&mut self, sweep: &mut Sweep) -> Result<(), StoreError> {
        if !self.gathered.is_empty() && sweep.stopped_until.is_none() {
            self.make_room(sweep).await?;
            self.ask();
        }
        while !self.under_way.is_empty() {
            self.put_down(sweep).await?;
        }
        Ok(())
    }

    /// Waits for one of them and counts what came of it.
    async fn put_down(&mut self, sweep: &mut Sweep) -> Result<(), StoreError> {
        self.room = IN_HAND;
        match self.under_way.join_next().await {
            Some(Ok(compared)) => compared?.iter().for_each(|compared| sweep.count(compared)),
            Some(Err(error)) => {
                tracing::error!(%error, "a comparison ended in a fault of ours; the code stays due");
            }
            None => {}
        }
        Ok(())
    }
}

impl Sweep {
    fn count(&mut self, compared: &Compared) {
        match *compared {
            Compared::Asked { failed, repaired } => {
                self.asked += 1;
                self.failed += u64::from(failed);
                self.repaired += u64::from(repaired);
            }
            Compared::Stopped(until) => self.stopped_until = self.stopped_until.max(Some(until)),
        }
    }
}

/// All codes once, page by page, beginning behind one of them.
struct Pages {
    begin: Option<String>,
    after: Option<String>,
    /// The last code has been passed: what is left is from the first to where it began.
    turned: bool,
}

impl Pages {
    fn behind(begin: Option<String>) -> Self {
        Self { after: begin.clone(), begin, turned: false }
    }

    async fn next(&mut self, store: &Store) -> Result<Option<Vec<License>>, StoreError> {
        loop {
            let filter =
                LicenseFilter { after: self.after.clone(), limit: PAGE, ..Default::default() };
            let rows = store.list(move |snapshot| snapshot.licenses(&filter)).await?;
            let mut page: Vec<_> = rows.into_iter().map(|row| row.license).collect();
            if let (true, Some(begin)) = (self.turned, &self.begin) {
                page.retain(|license| license.code.as_str() <= begin.as_str());
            }
            if let Some(last) = page.last() {
                self.after = Some(last.code.as_str().to_owned());
                return Ok(Some(page));
            }
            if self.turned || self.begin.is_none() {
                return Ok(None);
            }
            (self.turned, self.after) = (true, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODES: usize = 2 * PAGE + 200;

    fn code(n: usize) -> String {
        format!("PL{n:04}")
    }

    async fn around(store: &Store, begin: Option<String>) -> Vec<String> {
        let (mut pages, mut codes) = (Pages::behind(begin), Vec::new());
        while let Some(page) = pages.next(store).await.expect("a page") {
            assert!(page.len() <= PAGE);
            codes.extend(page.iter().map(|license| license.code.as_str().to_owned()));
        }
        codes
    }

    #[tokio::test]
    async fn each_code_comes_once_beginning_behind_the_mark() {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, _held) = Store::open(folder.path(), |_, _| {}).expect("a store");
        assert!(around(&store, Some(code(1))).await.is_empty());
        let fill = store.write(|tx| {
            (0..CODES).try_for_each(|n| {
                let code = Code::parse(&code(n)).expect("a code");
                tx.save_license(&License::issued(code, Timestamp::from_ms(0)), None)
            })
        });
        fill.await.expect("stored");
        let all: Vec<String> = (0..CODES).map(code).collect();
        assert_eq!(around(&store, None).await, all);
        for n in [0, 1, PAGE - 1, PAGE, CODES / 2, CODES - 1] {
            let (before, behind) = all.split_at(n + 1);
            assert_eq!(around(&store, Some(code(n))).await, [behind, before].concat(), "{n}");
        }
        for gone in ["PL", "PLX"] {
            assert_eq!(around(&store, Some(gone.to_owned())).await, all, "{gone}");
        }
    }
}
