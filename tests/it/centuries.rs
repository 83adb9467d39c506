//! A hundred years of a daily job in every time zone, with a clock that jumps and a daemon that is down now and
//! then: each slot that anybody was there for runs exactly once, when it is due (product.md §5).
//!
//! What is due comes from an oracle of its own: it knows the zone only by its offsets from UTC, and counts.

use authcoded::domain::slots::{Plan, Slot, Zone};
use authcoded::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, Timestamp};
use authcoded::store::{Store, Tx};
use chrono::{DateTime, Offset as _, TimeZone as _};
use chrono_tz::{TZ_VARIANTS, Tz};
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// 2000-01-01 and 2100-01-01, UTC.
const BEGINS: i64 = 946_684_800_000;
const ENDS: i64 = 4_102_444_800_000;
/// One that falls into the hour which summer time leaves out, and one that does not.
const TIMES: [(&str, i64); 2] = [("02:30", 150 * MINUTE_MS), ("13:00", 13 * HOUR_MS)];
/// The worker looks at least once in this time.
const LOOK_MS: i64 = MINUTE_MS;
const JUMP_MS: i64 = 26 * HOUR_MS;

/// Zones whose clocks do strange things: half an hour of summer time, two changes around Ramadan, a day that
/// was left out, quarters of an hour.
const STRANGE: [&str; 8] = [
    "Asia/Shanghai",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "America/Caracas",
    "Antarctica/Troll",
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

/// When each slot is due, in their order, and its place by its name.
struct Oracle {
    due: Vec<i64>,
    place: HashMap<String, usize>,
}

impl Oracle {
    fn of(zone: Tz) -> Self {
        let spans = spans(zone);
        let (mut due, mut place) = (Vec::new(), HashMap::new());
        let mut at = 0;
        for day in (BEGINS / DAY_MS - 6)..(ENDS / DAY_MS + 6) {
            let date = DateTime::from_timestamp_millis(day * DAY_MS).expect("a date");
            let date = date.format("%Y-%m-%d").to_string();
            for (text, time) in TIMES {
                let wall = day * DAY_MS + time;
                // The first span at whose end the wall has got beyond it.
                while spans[at].end + spans[at].offset <= wall {
                    at += 1;
                }
                place.insert(format!("{date}T{text}"), due.len());
                due.push(spans[at].begins.max(wall - spans[at].offset));
            }
        }
        Self { due, place }
    }

    /// The slot after this one. Slots of an hour or a day that was left out are due together; the last counts.
    fn after(&self, place: usize) -> usize {
        let next = self.due[place + 1];
        let same = self.due[place + 1..].iter().take_while(|due| **due == next).count();
        place + same
    }
}

/// A time in which the offset from UTC is the same; milliseconds.
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
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.slots += other.slots;
        self.late += other.late;
        self.missed += other.missed;
        self.jumps += other.jumps;
        self.downtimes += other.downtimes;
    }
}

/// The daemon's worker over a hundred years: an injected clock, and rows that say what has run.
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
    fn new(name: &'static str, zone: Tz, seed: u64) -> Self {
        let oracle = Oracle::of(zone);
        let times = TIMES.map(|(text, _)| text.parse().expect("a time")).to_vec();
        let zone: Zone = name.parse().expect("a zone");
        let unseen = vec![Seen::default(); oracle.due.len()];
        let mut random = Random(seed);
        let trouble = BEGINS + random.between(0, 60 * DAY_MS);
        let (plan, figures) = (Plan::Daily { zone, times }, Figures::default());
        Self { name, plan, oracle, random, real: BEGINS, offset: 0, trouble, seen: unseen, figures }
    }

    /// Lets time pass; `claim` is the row of a slot: whether it was not there.
    fn live(&mut self, until: i64, mut claim: impl FnMut(&Slot, Timestamp) -> bool) {
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
            let next = self.plan.next(now).expect("a next slot");
            let after = self.oracle.after(place);
            assert_eq!(next.due.as_ms(), self.oracle.due[after], "{}: {next:?}", self.name);
            let wait = next.due.ms_since(now) + self.random.between(0, LOOK_MS);
            if self.real + wait < self.trouble {
                self.real += wait;
                awaited = Some(after);
            } else {
                self.be_troubled();
                awaited = None;
            }
        }
    }

    /// The oracle's place of a slot, which must be the latest due at `now`.
    fn place(&self, slot: &Slot, now: Timestamp) -> usize {
        let Oracle { due, place } = &self.oracle;
        let found = place.get(&slot.name).copied();
        let found = found.unwrap_or_else(|| panic!("{}: there is no {slot:?}", self.name));
        let (at, now) = (due[found], now.as_ms());
        let latest = at == slot.due.as_ms() && at <= now && now < due[found + 1];
        assert!(latest, "{}: {slot:?} at {now}, due {at} to {}", self.name, due[found + 1]);
        found
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
        let names: HashMap<usize, &String> =
            self.oracle.place.iter().map(|(name, place)| (*place, name)).collect();
        let last = self.seen.iter().rposition(|seen| seen.reigned).expect("it lived");
        let first = self.seen.iter().position(|seen| seen.reigned).expect("it lived");
        for (place, seen) in self.seen.iter().enumerate().take(last + 1).skip(first) {
            let expected = u8::from(seen.reigned);
            assert_eq!(seen.runs, expected, "{}: {}", self.name, names[&place]);
            self.figures.slots += usize::from(seen.runs);
            self.figures.late += usize::from(seen.late);
            self.figures.missed += usize::from(!seen.reigned);
        }
        let days = self.figures.slots + self.figures.missed;
        assert!((73_040..73_060).contains(&days), "{}: {days} slots in all", self.name);
        self.figures
    }
}

fn century(name: &'static str, zone: Tz, seed: u64) -> Figures {
    let mut world = World::new(name, zone, seed);
    let mut rows = std::collections::HashSet::new();
    world.live(ENDS, |slot, _| rows.insert(slot.name.clone()));
    world.judge()
}

/// Plays these zones on all processors, and prints what was played.
fn play(zones: &[Tz], seed: u64) {
    println!("seed {seed}");
    let began = std::time::Instant::now();
    let (next, all) = (AtomicUsize::new(0), Mutex::new(Figures::default()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((nth, zone)) = Some(next.fetch_add(1, Ordering::Relaxed))
                    .and_then(|n| Some((n, zones.get(n)?)))
                {
                    let figures = century(zone.name(), *zone, seed.wrapping_add(nth as u64));
                    *all.lock().expect("not poisoned") += figures;
                }
            });
        }
    });
    let Figures { slots, late, missed, jumps, downtimes } = *all.lock().expect("not poisoned");
    println!(
        "{} zones, 100 years each: {slots} slots ran exactly once, {late} of them caught up late, {missed} missed \
         because nobody was there; {jumps} jumps of up to 26 h, {downtimes} downtimes; {:.0} s",
        zones.len(),
        began.elapsed().as_secs_f64()
    );
}

/// Another one each time, unless a failure is to be repeated.
fn seed() -> u64 {
    let given = std::env::var_os("AUTHCODED_SLOTS_SEED");
    let given = given.and_then(|text| text.to_str()?.parse().ok());
    given.unwrap_or_else(|| u64::try_from(crate::daemon::now().as_ms()).expect("after 1970"))
}

/// One zone of each set of rules in these years: many names are other names of the same clock.
fn distinct() -> Vec<Tz> {
    let mut known = std::collections::HashSet::new();
    let rules = |zone: Tz| -> Vec<_> {
        spans(zone).iter().map(|span| (span.begins, span.offset)).collect()
    };
    TZ_VARIANTS.into_iter().filter(|zone| known.insert(rules(*zone))).collect()
}

#[test]
fn each_slot_of_a_century_runs_once_in_strange_zones() {
    let zones: Vec<Tz> = STRANGE[..4].iter().map(|name| name.parse().expect("a zone")).collect();
    play(&zones, seed());
}

/// On demand: `cargo test --test it -- --ignored --nocapture centuries`.
#[test]
#[ignore = "takes many minutes: every zone there is"]
fn each_slot_of_a_century_runs_once_in_every_zone() {
    let distinct = distinct();
    println!("{} zones with {} sets of rules", TZ_VARIANTS.len(), distinct.len());
    assert!(TZ_VARIANTS.len() > 590 && distinct.len() > 100, "the zones are not all there");
    play(&distinct, seed());
}

/// The same with the rows of the database, opened again after each decade.
#[tokio::test]
async fn the_rows_of_the_database_keep_each_slot_to_one_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let seed = seed();
    println!("seed {seed}");
    let name = STRANGE[4];
    let mut world = World::new(name, name.parse().expect("a zone"), seed);
    for decade in 1..=10 {
        let until = BEGINS + (ENDS - BEGINS) / 10 * decade;
        let (store, held) = Store::open(folder.path(), |_, _| {}).expect("opened");
        let claim = |tx: &mut Tx<'_>, slot: &Slot, now| {
            tx.begin_job("heartbeat", &slot.name, slot.due, now).expect("a row").is_some()
        };
        let lived = store.write(move |tx| {
            world.live(until, |slot, now| claim(tx, slot, now));
            Ok(world)
        });
        world = lived.await.expect("written");
        store.shut_down();
        held.writer_end.await.expect("the writer's end");
    }
    println!("{name}: {:?}", world.judge());
}
