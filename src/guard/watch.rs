//! What is looked at all the time: clock, certificates, disk, queue, refusals, silence, key files.
//!
//! Invariant: each watch is a pure rule over what was observed; an alarm goes when its rule says so, and
//! keeps the time at which it came.

mod certificates;
mod clock;
mod disk;
mod key_files;
mod queue;
mod silence;
mod traffic;

pub use key_files::KeyFile;

use super::alarms::{Alarm, Severity};
use crate::domain::dial_test::PROBE_CODE;
use crate::domain::time::{DAY_MS, Timestamp};
use crate::lifecycle::Lifecycle;
use crate::store::StoreError;
use certificates::Certificate;
use clock::Jump;
use disk::Space;
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use traffic::Traffic;

/// How often everything is looked at, in real time.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// A look that is not older serves whoever asks.
const FRESH: Duration = Duration::from_secs(1);

/// What is to be watched beside the daemon's own parts.
#[derive(Debug, Default)]
pub struct Watched {
    /// The folder of the database.
    pub data_dir: PathBuf,
    /// The certificate that is served here, if TLS ends here.
    pub certificate: Option<PathBuf>,
    /// Files that are read at the start and at a reload.
    pub key_files: Vec<KeyFile>,
}

/// The watches. One for the whole process.
pub struct Watch {
    watched: Watched,
    key_files: Mutex<Vec<KeyFile>>,
    traffic: Mutex<Traffic>,
    observed: Mutex<Observed>,
    /// Since when each alarm stands.
    standing: Mutex<HashMap<String, Timestamp>>,
}

/// What was seen at the last look.
#[derive(Debug, Default)]
struct Observed {
    space: Option<Space>,
    /// The queue's length at the last looks of the clock's own, the newest last.
    queue: VecDeque<usize>,
    queue_at: Option<Instant>,
    jump: Option<Jump>,
    certificates: Vec<Certificate>,
    changed_files: Vec<String>,
    /// When a query told of what a callback should have.
    silent: VecDeque<Timestamp>,
    /// Events up to this one have been looked through.
    event_seen: Option<i64>,
    /// Both clocks at the last look.
    clocks: Option<(Timestamp, Instant)>,
}

impl Watch {
    /// Watches these; key files are as they are now.
    #[must_use]
    pub fn new(mut watched: Watched) -> Self {
        Self {
            key_files: Mutex::new(std::mem::take(&mut watched.key_files)),
            watched,
            traffic: Mutex::default(),
            observed: Mutex::default(),
            standing: Mutex::default(),
        }
    }

    /// The daemon has read these files as they are; those that systemd hands over it has not read again.
    pub fn renew_key_files(&self, files: Vec<KeyFile>) {
        let mut known = lock(&self.key_files);
        *known = key_files::renewed(&known, files);
        lock(&self.observed).changed_files = key_files::changed(&known);
    }

    /// An authentic callback came. Our own heartbeat's say nothing of anybody's clock.
    pub fn authentic(&self, code: Option<&str>, at: Timestamp, skew_ms: i64) {
        if code != Some(PROBE_CODE) {
            lock(&self.traffic).authentic(at, skew_ms);
        }
    }

    /// A callback was answered.
    pub fn answered(&self, at: Timestamp, refused: bool) {
        lock(&self.traffic).answered(at, refused);
    }

    /// Looks at everything, now and again, until `stop` turns true.
    pub async fn keep_looking(&self, lifecycle: &Lifecycle, mut stop: watch::Receiver<bool>) {
        loop {
            if let Err(error) = self.look(lifecycle) {
                tracing::warn!(%error, "the watches could not read the database");
            }
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Looks again if the last look is a second old: who asks sees what is.
    pub(super) fn refresh(&self, lifecycle: &Lifecycle) -> Result<(), StoreError> {
        let looked = lock(&self.observed).clocks.map(|(_, at)| at);
        if looked.is_some_and(|at| at.elapsed() < FRESH) { Ok(()) } else { self.look(lifecycle) }
    }

    /// Looks at everything once.
    fn look(&self, lifecycle: &Lifecycle) -> Result<(), StoreError> {
        let (now, instant) = (lifecycle.clock.now(), Instant::now());
        let space = disk::space(&self.watched.data_dir);
        let changed_files = key_files::changed(&lock(&self.key_files));
        let file = certificates::of_file(self.watched.certificate.as_deref());
        let mut certificates: Vec<_> = file.into_iter().collect();
        certificates.extend(certificates::of_marketplace(lifecycle.marketplace.certificates()));
        let after = lock(&self.observed).event_seen;
        let (probe, silent) = lifecycle.store.read(|snapshot| {
            let probe = snapshot.probes(None, 1)?.into_iter().next();
            Ok((probe, snapshot.unannounced(after)?))
        })?;
        certificates.extend(probe.as_ref().and_then(certificates::of_probe));
        self.measure(lifecycle, space, &certificates, changed_files.len(), now);

        let mut observed = lock(&self.observed);
        let before = observed.clocks.replace((now, instant));
        if let Some((wall, monotonic)) = before {
            let passed = instant.duration_since(monotonic);
            if let Some(by_ms) = clock::jumped(now.ms_since(wall), passed, lifecycle.clock.speed())
            {
                tracing::warn!(by_ms, "the wall clock jumped, or this machine was suspended");
                lifecycle.metrics.watch.clock_jumped();
                observed.jump = Some(Jump { at: now, by_ms });
            }
        }
        if observed.queue_at.is_none_or(|at| instant.duration_since(at) >= LOOK_EVERY) {
            observed.queue_at = Some(instant);
            queue::remember(&mut observed.queue, lifecycle.store.stats().waiting);
        }
        observed.space = space;
        observed.certificates = certificates;
        observed.changed_files = changed_files;
        observed.event_seen = Some(silent.seen);
        observed.silent.extend(silent.at);
        observed.silent.retain(|at| now.ms_since(*at) < DAY_MS);
        lifecycle.metrics.watch.set_silent(observed.silent.len());
        Ok(())
    }

    fn measure(
        &self,
        lifecycle: &Lifecycle,
        space: Option<Space>,
        certificates: &[Certificate],
        changed_files: usize,
        now: Timestamp,
    ) {
        let metrics = &lifecycle.metrics.watch;
        if let Some(space) = space {
            metrics.set_disk_free(space.free);
        }
        for certificate in certificates {
            metrics.set_certificate_days(certificate.name.clone(), certificate.days_left(now));
        }
        metrics.set_key_files_changed(changed_files);
        let traffic = lock(&self.traffic);
        metrics.set_refused_share(traffic.refused_share(now));
        if let Some(skew_ms) = traffic.skew_ms(now) {
            metrics.set_callback_skew(skew_ms);
        }
    }

    /// What is wrong now. `date_skew_ms` is our clock minus the marketplace's, from its answers.
    pub(super) fn alarms(&self, date_skew_ms: Option<i64>, now: Timestamp) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        {
            let traffic = lock(&self.traffic);
            alarms.extend(clock::skew_alarm(date_skew_ms, traffic.skew_ms(now), now));
            alarms.extend(traffic.alarm(now));
        }
        {
            let observed = lock(&self.observed);
            alarms.extend(observed.jump.and_then(|jump| clock::jump_alarm(jump, now)));
            alarms.extend(observed.certificates.iter().filter_map(|one| one.alarm(now)));
            alarms.extend(observed.space.and_then(|space| space.alarm(now)));
            alarms.extend(queue::alarm(&observed.queue, now));
            alarms.extend(silence::alarm(&observed.silent, now));
            alarms.extend(key_files::alarm(&observed.changed_files, now));
        }
        keep_since(&mut lock(&self.standing), &mut alarms);
        alarms
    }
}

/// An alarm that stands keeps the time at which it came; one that has gone is forgotten.
fn keep_since(standing: &mut HashMap<String, Timestamp>, alarms: &mut [Alarm]) {
    standing.retain(|id, _| alarms.iter().any(|alarm| alarm.id == *id));
    for alarm in alarms {
        alarm.since = *standing.entry(alarm.id.clone()).or_insert(alarm.since);
    }
}

/// An alarm of a watch, since now unless it stands already.
fn alarm(
    kind: &'static str,
    severity: Severity,
    now: Timestamp,
    text: String,
    what_to_do: &'static str,
) -> Alarm {
    let id = kind.replace('_', "-");
    Alarm { id, kind, since: now, severity, code: None, text, what_to_do }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_keeps_its_time_until_it_goes() {
        let at = Timestamp::from_ms;
        let disk = |ms| vec![alarm("disk_space", Severity::High, at(ms), String::new(), "")];
        let mut standing = HashMap::new();
        let mut since = |mut alarms: Vec<Alarm>| {
            keep_since(&mut standing, &mut alarms);
            alarms.first().map(|alarm| alarm.since.as_ms())
        };
        assert_eq!(since(disk(1)), Some(1));
        assert_eq!(since(disk(9)), Some(1));
        assert_eq!(since(Vec::new()), None);
        assert_eq!(since(disk(20)), Some(20));
    }

    #[test]
    fn the_heartbeats_calls_tell_nothing_of_a_clock() {
        let watch = Watch::new(Watched::default());
        let now = Timestamp::from_ms(1_795_249_800_000);
        for _ in 0..5 {
            watch.authentic(Some(PROBE_CODE), now, 50_000);
        }
        assert!(watch.alarms(None, now).is_empty());
        for _ in 0..5 {
            watch.authentic(Some("PL1"), now, 50_000);
        }
        let told = watch.alarms(None, now);
        assert_eq!(told.iter().map(|alarm| alarm.kind).collect::<Vec<_>>(), ["clock"]);
    }
    #[test]
    fn each_watch_is_asked() {
        let watch = Watch::new(Watched::default());
        let now = Timestamp::from_ms(1_795_249_800_000);
        {
            let mut observed = lock(&watch.observed);
            observed.jump = Some(Jump { at: now, by_ms: 5_000 });
            observed.space = Some(Space { free: 0, whole: 1 << 30 });
            observed.queue.extend([4_000; 3]);
            observed.silent.push_back(now);
            observed.changed_files.push("a file".to_owned());
        }
        (0..10).for_each(|_| watch.answered(now, true));
        let told = watch.alarms(Some(50_000), now);
        let kinds: Vec<_> = told.iter().map(|alarm| alarm.kind).collect();
        let expected = [
            "clock",
            "refusals",
            "clock_jump",
            "disk_space",
            "writer_queue",
            "silence",
            "key_files",
        ];
        assert_eq!(kinds, expected);
    }
}
