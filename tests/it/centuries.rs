//! A hundred years of a daily job in every time zone, with a clock that jumps and a daemon that is down now and
//! then, or starts anew: each slot that anybody was there for runs exactly once, when it is due (product.md §5).
//!
//! What is due comes from an oracle of its own, which knows a zone only by its offsets from UTC, and counts.
//! What has run comes from the rows of real databases, each with the zones of a [`FLEET`] as its jobs.

use authcoded::domain::slots::{Plan, Slot, Zone};
use authcoded::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, Timestamp};
use authcoded::store::Store;
use chrono::{DateTime, Offset as _, TimeZone as _};
use chrono_tz::{TZ_VARIANTS, Tz};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::Instant;

/// 2000-01-01 and 2100-01-01, UTC.
const BEGINS: i64 = 946_684_800_000;
const ENDS: i64 = 4_102_444_800_000;
/// The oracle counts the slots of the days from a little before to a little after.
const DAYS: std::ops::Range<i64> = BEGINS / DAY_MS - 6..ENDS / DAY_MS + 6;
/// One that falls into the hour which summer time leaves out, and one that does not.
const TIMES: [(&str, i64); 2] = [("02:30", 150 * MINUTE_MS), ("13:00", 13 * HOUR_MS)];
/// The worker looks at least once in this time.
const LOOK_MS: i64 = MINUTE_MS;
const JUMP_MS: i64 = 26 * HOUR_MS;
/// So many zones share a database.
const FLEET: usize = 8;
/// So often a database is opened; each time the rows of all but the last days are forgotten, as each night.
const STARTS: i64 = 25;
const KEPT_MS: i64 = 90 * DAY_MS;

/// Zones whose clocks do strange things: half an hour of summer time, two changes around Ramadan, a day that
/// was left out, quarters of an hour, a gap from 00:01 to 03:01.
const STRANGE: [&str; 9] = [
    "Asia/Shanghai",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "America/Caracas",
    "Antarctica/Troll",
    "Antarctica/Casey",
];

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to below `high`.
    fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = u64::try_from(high - low).expect("a span");
        low + i64::try_from(self.next() % span).expect("small")
    }
}

/// The names of all slots in their order; every zone has the same.
static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let of_day = |day: i64| {
        let date = DateTime::from_timestamp_millis(day * DAY_MS).expect("a date").date_naive();
        TIMES.map(|(text, _)| format!("{date}T{text}"))
    };
    DAYS.flat_map(of_day).collect()
});

/// When each slot is due, in the order of [`NAMES`].
struct Oracle(Vec<i64>);

impl Oracle {
    fn of(spans: &[Span]) -> Self {
        let mut at = 0;
        let walls = DAYS.flat_map(|day| TIMES.map(|(_, time)| day * DAY_MS + time));
        let due = walls.map(|wall| {
            // The first span at whose end the wall has got beyond it.
            while spans[at].end + spans[at].offset <= wall {
                at += 1;
            }
            spans[at].begins.max(wall - spans[at].offset)
        });
        Self(due.collect())
    }

    /// The place of the latest slot that is due. Of those of an hour or a day that was left out, which are due
    /// together, it is the last.
    fn latest(&self, now: i64) -> usize {
        self.0.partition_point(|due| *due <= now) - 1
    }
}

/// A time in which the offset from UTC is the same; milliseconds.
#[derive(PartialEq, Eq, Hash)]
struct Span {
    begins: i64,
    end: i64,
    offset: i64,
}

fn spans(zone: Tz) -> Vec<Span> {
    let offset = |ms: i64| {
        let at = DateTime::from_timestamp_millis(ms).expect("a time").naive_utc();
        i64::from(zone.offset_from_utc_datetime(&at).fix().local_minus_utc()) * 1_000
    };
    let (from, to) = (BEGINS - 10 * DAY_MS, ENDS + 10 * DAY_MS);
    let mut spans = vec![Span { begins: from, end: to, offset: offset(from) }];
    let mut day = from;
    while day < to {
        let (mut low, mut high) = (day, day + DAY_MS);
        let known = spans.last().expect("one").offset;
        day = high;
        if offset(high) == known {
            continue;
        }
        while high - low > 1_000 {
            let middle = low + (high - low) / 2_000 * 1_000;
            *(if offset(middle) == known { &mut low } else { &mut high }) = middle;
        }
        spans.last_mut().expect("one").end = high;
        spans.push(Span { begins: high, end: to, offset: offset(high) });
    }
    spans
}

/// What was seen of a slot.
#[derive(Clone, Copy, Default)]
struct Seen {
    runs: u8,
    /// Somebody looked while it was the latest one.
    reigned: bool,
    /// It became due while nobody looked.
    late: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct Figures {
    slots: usize,
    late: usize,
    missed: usize,
    jumps: usize,
    downtimes: usize,
    starts: usize,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.slots += other.slots;
        self.late += other.late;
        self.missed += other.missed;
        self.jumps += other.jumps;
        self.downtimes += other.downtimes;
        self.starts += other.starts;
    }
}

/// A zone under test.
struct Rules {
    zone: Tz,
    spans: Vec<Span>,
}

impl Rules {
    fn of(zone: Tz) -> Self {
        Self { zone, spans: spans(zone) }
    }

    /// One zone of each set of rules in these years: many names are other names of the same clock.
    fn distinct() -> Vec<Self> {
        let mut known = std::collections::HashSet::new();
        let fresh = |rules: &Self| {
            let changes = rules.spans.iter().map(|span| (span.begins, span.offset));
            known.insert(changes.collect::<Vec<_>>())
        };
        TZ_VARIANTS.into_iter().map(Self::of).filter(fresh).collect()
    }
}

/// The daemon's worker over a hundred years, with an injected clock.
struct World {
    name: &'static str,
    plan: Plan,
    oracle: Oracle,
    random: Random,
    real: i64,
    offset: i64,
    trouble: i64,
    seen: Vec<Seen>,
    figures: Figures,
}

impl World {
    fn new(rules: &Rules, seed: u64) -> Self {
        let name = rules.zone.name();
        let times = TIMES.map(|(text, _)| text.parse().expect("a time")).to_vec();
        let zone: Zone = name.parse().expect("a zone");
        let unseen = vec![Seen::default(); NAMES.len()];
        let of_zone = |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(u64::from(byte));
        let mut random = Random(name.bytes().fold(seed, of_zone));
        let trouble = BEGINS + random.between(0, 60 * DAY_MS);
        Self {
            name,
            plan: Plan::Daily { zone, times },
            oracle: Oracle::of(&rules.spans),
            random,
            real: BEGINS,
            offset: 0,
            trouble,
            seen: unseen,
            figures: Figures::default(),
        }
    }

    /// Lets time pass; `claim` is the row of a slot: whether it was not there.
    fn live(&mut self, until: i64, mut claim: impl FnMut(&Slot, Timestamp) -> bool) {
        self.figures.starts += 1;
        // While nothing happens, none is left out.
        let mut awaited = None;
        while self.real < until {
            let now = Timestamp::from_ms(self.real + self.offset);
            let slot = self.plan.latest(now).expect("a slot");
            let place = self.place(&slot, now);
            assert!(awaited.is_none_or(|awaited| awaited == place), "{}: {slot:?}", self.name);
            self.seen[place].reigned = true;
            if claim(&slot, now) {
                self.seen[place].runs += 1;
                self.seen[place].late = now.ms_since(slot.due) > LOOK_MS;
            }
            let next = self.plan.next(now).expect("a next slot").due;
            let Oracle(due) = &self.oracle;
            assert_eq!(next.as_ms(), due[place + 1], "{}: what is after {slot:?}", self.name);
            let wait = next.ms_since(now) + self.random.between(0, LOOK_MS);
            if self.real + wait < self.trouble {
                self.real += wait;
                awaited = Some(self.oracle.latest(next.as_ms()));
            } else {
                self.be_troubled();
                awaited = None;
            }
        }
    }

    /// The place of a slot, which must be the oracle's latest at `now`.
    fn place(&self, slot: &Slot, now: Timestamp) -> usize {
        let place = self.oracle.latest(now.as_ms());
        let (name, due) = (&NAMES[place], self.oracle.0[place]);
        let agreed = slot.name == *name && slot.due.as_ms() == due;
        assert!(agreed, "{}: at {now} {slot:?} instead of {name}, due {due}", self.name);
        place
    }

    /// The clock is set wrong or right again, or the daemon is down for a while.
    fn be_troubled(&mut self) {
        self.real = self.real.max(self.trouble);
        if self.random.next() & 1 == 0 {
            let wrong = self.random.between(-JUMP_MS, JUMP_MS + 1);
            self.offset = if self.offset == 0 { wrong } else { 0 };
            self.figures.jumps += 1;
        } else {
            self.real += self.random.between(MINUTE_MS, 4 * DAY_MS);
            self.figures.downtimes += 1;
        }
        self.trouble = self.real + self.random.between(HOUR_MS, 60 * DAY_MS);
    }

    /// Each slot ran exactly once if somebody was there while it was the latest one, else never.
    fn judge(mut self) -> Figures {
        let last = self.seen.iter().rposition(|seen| seen.reigned).expect("it lived");
        let first = self.seen.iter().position(|seen| seen.reigned).expect("it lived");
        for (place, seen) in self.seen.iter().enumerate().take(last + 1).skip(first) {
            let expected = u8::from(seen.reigned);
            assert_eq!(seen.runs, expected, "{}: {}", self.name, NAMES[place]);
            self.figures.slots += usize::from(seen.runs);
            self.figures.late += usize::from(seen.late);
            self.figures.missed += usize::from(!seen.reigned);
        }
        let days = self.figures.slots + self.figures.missed;
        assert!((73_040..73_060).contains(&days), "{}: {days} slots in all", self.name);
        self.figures
    }
}

/// The centuries of some zones, each a job in the rows of one database, which is opened again and again.
async fn live(mut fleet: Vec<World>) -> Figures {
    let folder = tempfile::tempdir().expect("a folder");
    for start in 1..=STARTS {
        let until = BEGINS + (ENDS - BEGINS) / STARTS * start;
        let (store, held) = Store::open(folder.path(), |_, _| {}).expect("opened");
        let mut lived = Vec::with_capacity(fleet.len());
        for mut world in fleet {
            let life = store.write(move |tx| {
                world.live(until, |slot, now| {
                    let run = tx.begin_job(world.name, &slot.name, slot.due, now);
                    run.expect("a row").is_some()
                });
                Ok(world)
            });
            lived.push(life.await.expect("written"));
        }
        let before = Timestamp::from_ms(until - KEPT_MS);
        store.write(move |tx| tx.prune_jobs(before)).await.expect("forgotten");
        store.shut_down();
        held.writer_end.await.expect("the writer's end");
        fleet = lived;
    }
    let mut all = Figures::default();
    for world in fleet {
        all += world.judge();
    }
    all
}

/// Plays these zones on all processors, and prints what was played.
fn play(zones: &[Rules], seed: u64) {
    println!("seed {seed}");
    let began = Instant::now();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let fleets: Vec<_> = zones.chunks(FLEET.min(zones.len().div_ceil(processors))).collect();
    let (next, all) = (AtomicUsize::new(0), Mutex::new(Figures::default()));
    std::thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build();
                let runtime = runtime.expect("a runtime");
                while let Some(fleet) = fleets.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let fleet = fleet.iter().map(|rules| World::new(rules, seed));
                    let figures = runtime.block_on(live(fleet.collect()));
                    *all.lock().expect("not poisoned") += figures;
                }
            });
        }
    });
    let Figures { slots, late, missed, jumps, downtimes, starts } =
        *all.lock().expect("not poisoned");
    println!(
        "{} zones, 100 years each: {slots} slots ran exactly once, {late} of them caught up late, {missed} missed \
         because nobody was there; {jumps} jumps of up to 26 h, {downtimes} downtimes, {starts} starts, {} databases; \
         {:.0} s",
        zones.len(),
        fleets.len(),
        began.elapsed().as_secs_f64()
    );
}

/// Another one each time, unless a failure is to be repeated.
fn seed() -> u64 {
    let given = std::env::var_os("AUTHCODED_SLOTS_SEED");
    let given = given.and_then(|text| text.to_str()?.parse().ok());
    given.unwrap_or_else(|| u64::try_from(crate::daemon::now().as_ms()).expect("after 1970"))
}

#[test]
fn each_slot_of_a_century_runs_once_in_strange_zones() {
    let zones = STRANGE.map(|name| Rules::of(name.parse().expect("a zone")));
    play(&zones, seed());
}

/// A step of its own in `.ci/run`: `cargo test --test it -- --ignored --nocapture every_zone`.
#[test]
#[ignore = "takes a minute or two: every zone there is"]
fn each_slot_of_a_century_runs_once_in_every_zone() {
    let distinct = Rules::distinct();
    println!(
        "{} zones with {} sets of rules: those with the same changes are played once",
        TZ_VARIANTS.len(),
        distinct.len()
    );
    assert!(TZ_VARIANTS.len() > 590 && distinct.len() > 100, "the zones are not all there");
    play(&distinct, seed());
}
