//! What must not be learnt from the marketplace first: our own availability, clock and troubles.

mod alarm_book;
mod alarms;
mod availability;
mod deaf;
mod doctor;
mod heartbeat;
mod restarts;
mod signature;
mod undelivered;
mod watch;

pub use alarm_book::{Listed, Subscriber, Telling};
pub use alarms::{Alarm, Severity};
pub use availability::{Availability, Corrected};
pub use deaf::told as told_of_gap;
pub use doctor::{DoctorQueue, RefusedCall, start_doctor};
pub use heartbeat::{HeartbeatError, Prober};
pub use restarts::{Advice, FailedOrdersReport};

pub use watch::{KeyFile, Watch, Watched};

use crate::domain::retry_window::FAILED_ORDERS_PER_MONTH;
use crate::domain::time::Timestamp;
use crate::domain::transition::{EventDraft, EventKind, Source};
use crate::lifecycle::Lifecycle;
use crate::store::{ProbeDraft, ProbeRow, StoreError};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::Notify;

/// The guard. One for the whole process.
pub struct Guard {
    lifecycle: Arc<Lifecycle>,
    prober: RwLock<Arc<Prober>>,
    watch: Arc<Watch>,
    /// The marketplace dials each half-day.
    on_sale: bool,
    failed_orders_per_month: u32,
    telling: Telling,
    /// Somebody wants the alarms looked at before the minute is over.
    look: Notify,
    started_at: Timestamp,
}

impl Guard {
    /// Guards what `prober` reaches, and tells what `watch` sees; a product that is `on_sale` is dialled by
    /// the marketplace.
    #[must_use]
    pub fn new(
        lifecycle: Arc<Lifecycle>,
        prober: Prober,
        watch: Arc<Watch>,
        on_sale: bool,
    ) -> Self {
        Self {
            watch,
            on_sale,
            failed_orders_per_month: FAILED_ORDERS_PER_MONTH,
            telling: Telling::default(),
            look: Notify::new(),
            started_at: lifecycle.clock.now(),
            prober: RwLock::new(Arc::new(prober)),
            lifecycle,
        }
    }

    /// Allows so many failed orders in a month before it is an alarm of its own.
    #[must_use]
    pub fn allowing_failed_orders(self, per_month: u32) -> Self {
        Self { failed_orders_per_month: per_month, ..self }
    }

    /// The same, telling of its alarms.
    #[must_use]
    pub fn telling(self, telling: Telling) -> Self {
        Self { telling, ..self }
    }

    /// Probes with another one from the next heartbeat on.
    pub fn replace_prober(&self, prober: Prober) {
        *self.prober.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(prober);
    }

    /// How far our clock is ahead of the marketplace's, in milliseconds, if it is known.
    #[must_use]
    pub fn clock_skew_ms(&self) -> Option<i64> {
        self.lifecycle.marketplace.clock_skew_ms()
    }

    /// Runs a heartbeat, records it with every step, and returns it.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be recorded; a failed heartbeat is no error.
    pub async fn heartbeat(&self, slot: &str) -> Result<ProbeRow, StoreError> {
        let started_at = self.lifecycle.clock.now();
        let prober = Arc::clone(&self.prober.read().unwrap_or_else(PoisonError::into_inner));
        let found = prober.heartbeat().await;
        let draft = ProbeDraft {
            slot: slot.to_owned(),
            started_at,
            outcome: found.outcome.as_str(),
            steps: found.steps_json(),
            certificate_days: found.certificate_days,
        };
        let diagnosis = found.diagnosis();
        let event = EventDraft::note(EventKind::Probe, format!("heartbeat {slot}: {diagnosis}"));
        let row = self
            .lifecycle
            .store
            .write(move |tx| {
                let id = tx.insert_probe(&draft)?;
                tx.append_event(started_at, None, Source::Timer, &event)?;
                let ProbeDraft { slot, started_at, outcome, steps, certificate_days } = draft;
                let outcome = outcome.to_owned();
                Ok(ProbeRow { id, slot, started_at, outcome, steps, certificate_days })
            })
            .await?;
        for (step, passed) in found.passed() {
            self.lifecycle.metrics.set_heartbeat_step(step, passed);
        }
        self.tell(slot, found.outcome, &diagnosis, started_at);
        self.look_again();
        Ok(row)
    }

    fn tell(&self, slot: &str, outcome: heartbeat::Outcome, diagnosis: &str, at: Timestamp) {
        let passed = outcome != heartbeat::Outcome::Failed;
        #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
        self.lifecycle.metrics.set_heartbeat(passed, at.as_ms() as f64 / 1e3);
        let outcome = outcome.as_str();
        if passed {
            tracing::info!(slot, outcome, "availability heartbeat: {diagnosis}");
        } else {
            tracing::error!(
                slot,
                outcome,
                "availability heartbeat: {diagnosis}; the marketplace's dial test will find the same: repair it today"
            );
        }
    }
}
