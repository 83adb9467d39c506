//! The metrics of the watches.

use super::metrics::add;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

/// Gauges that the watches set at each look.
#[derive(Debug)]
pub struct WatchMetrics {
    callback_skew: Gauge<f64, AtomicU64>,
    clock_jumps: Counter,
    certificate_days: Family<[(&'static str, String); 1], Gauge>,
    disk_free: Gauge,
    refused_share: Gauge<f64, AtomicU64>,
    silent: Gauge,
    key_files_changed: Gauge,
}

impl WatchMetrics {
    pub(super) fn register(r: &mut Registry) -> Self {
        Self {
            callback_skew: add(
                r,
                "callback_skew_seconds",
                "The least by which our clock is ahead of the signed times of the last callbacks",
                Gauge::default(),
            ),
            clock_jumps: add(r, "clock_jumps", "Jumps of the wall clock", Counter::default()),
            certificate_days: add(
                r,
                "certificate_days",
                "Days until a certificate ends",
                Family::default(),
            ),
            disk_free: add(
                r,
                "disk_free_bytes",
                "What is free on the disk of the database",
                Gauge::default(),
            ),
            refused_share: add(
                r,
                "callback_refused_share",
                "Refused callbacks of the last ten minutes, 0 to 1",
                Gauge::default(),
            ),
            silent: add(
                r,
                "silent_changes",
                "Changes of the last day that queries told of, but no callback",
                Gauge::default(),
            ),
            key_files_changed: add(
                r,
                "key_files_changed",
                "Files that have changed since they were read at the start",
                Gauge::default(),
            ),
        }
    }

    /// The skew that the last authentic callbacks show.
    pub fn set_callback_skew(&self, ms: i64) {
        #[expect(clippy::cast_precision_loss, reason = "seconds of skew")]
        self.callback_skew.set(ms as f64 / 1e3);
    }

    /// The wall clock jumped.
    pub fn clock_jumped(&self) {
        self.clock_jumps.inc();
    }

    /// How many days a certificate has left: `public`, `file`, or a domain of the configuration.
    pub fn set_certificate_days(&self, certificate: String, days: i64) {
        self.certificate_days.get_or_create(&[("certificate", certificate)]).set(days);
    }

    /// What is free on the disk.
    pub fn set_disk_free(&self, bytes: u64) {
        self.disk_free.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// The share of callbacks that were refused.
    pub fn set_refused_share(&self, share: f64) {
        self.refused_share.set(share);
    }

    /// How many changes came without a callback.
    pub fn set_silent(&self, changes: usize) {
        self.silent.set(i64::try_from(changes).unwrap_or(i64::MAX));
    }

    /// How many files are not as they were read.
    pub fn set_key_files_changed(&self, files: usize) {
        self.key_files_changed.set(i64::try_from(files).unwrap_or(i64::MAX));
    }
}
