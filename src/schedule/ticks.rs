//! The alarm clock: one tick a minute from tokio-cron-scheduler, and an independent interval beside it.
//!
//! The interval also proves to systemd that the writer works: the watchdog is fed only after a round
//! trip through it.

use super::Board;
use crate::clock::Clock;
use crate::store::Store;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

/// How often the interval pokes the workers, in the clock's time.
const INTERVAL: Duration = Duration::from_secs(30);
/// How long the writer may take before the watchdog goes hungry.
const WRITER_DEADLINE: Duration = Duration::from_secs(5);

/// Why there is no alarm clock.
#[derive(Debug, thiserror::Error)]
#[error("the scheduler could not be started: {0}")]
pub struct TicksError(#[from] JobSchedulerError);

/// The alarm clock at work.
pub struct Ticks {
    scheduler: JobScheduler,
}

impl Ticks {
    /// Pokes the workers of `board` once a minute, and by the interval, until `stop` turns true.
    ///
    /// # Errors
    /// [`TicksError`].
    pub async fn start(
        board: Arc<Board>,
        store: Store,
        clock: Clock,
        stop: watch::Receiver<bool>,
    ) -> Result<Self, TicksError> {
        let scheduler = JobScheduler::new().await?;
        let ticked = Arc::clone(&board);
        let tick = Job::new_async("0 * * * * *", move |_, _| {
            let board = Arc::clone(&ticked);
            Box::pin(async move { board.poke_all() })
        })?;
        scheduler.add(tick).await?;
        scheduler.start().await?;
        tokio::spawn(poke_by_interval(board, clock, stop.clone()));
        tokio::spawn(feed_watchdog(store, stop));
        Ok(Self { scheduler })
    }

    /// Stops the scheduler; workers are stopped by whoever started them.
    pub async fn stop(mut self) {
        if let Err(error) = self.scheduler.shutdown().await {
            tracing::debug!(%error, "the scheduler did not stop cleanly");
        }
    }
}

async fn poke_by_interval(board: Arc<Board>, clock: Clock, mut stop: watch::Receiver<bool>) {
    let period = clock.real(INTERVAL).max(Duration::from_millis(20));
    let mut interval = tokio::time::interval(period);
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            _ = interval.tick() => board.poke_all(),
        }
    }
}

/// Tells systemd twice per period that we live, if the writer does.
async fn feed_watchdog(store: Store, mut stop: watch::Receiver<bool>) {
    let Some(period) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut interval = tokio::time::interval(period / 2);
    loop {
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            _ = interval.tick() => {}
        }
        match tokio::time::timeout(WRITER_DEADLINE, store.write(|_| Ok(()))).await {
            Ok(Ok(())) => drop(sd_notify::notify(&[sd_notify::NotifyState::Watchdog])),
            Ok(Err(error)) => {
                tracing::error!(%error, "the watchdog is not fed: the writer failed");
            }
            Err(_) => tracing::error!("the watchdog is not fed: the writer did not answer in time"),
        }
    }
}
