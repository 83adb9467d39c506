//! When the daemon copies its log into the database, seen from outside: only then is that file written to.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// A checkpoint's fsync comes after its last write: what is answered this soon after counts as near.
const NEAR: Duration = Duration::from_millis(100);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Looks at the database file until it is told to stop.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    seen: JoinHandle<Vec<Instant>>,
}

/// When the database file was written to.
pub(crate) struct Checkpoints(Vec<Instant>);

impl Checkpoints {
    pub(crate) fn watch(data: &Path) -> Watch {
        let file = data.join("authcoded.db");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let seen = std::thread::spawn(move || {
            let modified = || -> SystemTime {
                std::fs::metadata(&file).and_then(|found| found.modified()).expect("the database")
            };
            let (mut seen, mut last) = (Vec::new(), modified());
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK_EVERY);
                if std::mem::replace(&mut last, modified()) != last {
                    seen.push(Instant::now());
                }
            }
            seen
        });
        Watch { stop, seen }
    }

    /// Whether a request that was `sent` then and answered `took` later met one.
    pub(crate) fn overlap(&self, sent: Instant, took: Duration) -> bool {
        let next = self.0.partition_point(|seen| *seen + NEAR < sent);
        self.0.get(next).is_some_and(|seen| *seen <= sent + took)
    }

    /// How many there were, taking writes that are close together as one.
    pub(crate) fn count(&self) -> usize {
        let pauses = self.0.windows(2).filter(|pair| pair[1] - pair[0] > NEAR).count();
        pauses + usize::from(!self.0.is_empty())
    }
}

impl Watch {
    pub(crate) fn stop(self) -> Checkpoints {
        self.stop.store(true, Ordering::Relaxed);
        Checkpoints(self.seen.join().expect("it watched"))
    }
}
