//! Messages about alarms, to people: from the table of notices to chat robots, mailboxes and webhooks.
//!
//! Invariants: nothing here is called from a transaction, and nothing waits for a channel but its own
//! worker; a message leaves the table only when its channel has taken it, so a crash sends it again under
//! the same id; no address and no secret of a channel is in any error or log line.

mod channel;
mod letter;
mod mail;
mod robots;
mod webhook;
mod wire;
mod words;

pub use channel::{ChannelSettings, MailSettings, MailTls, Route};
pub use words::KINDS;

use crate::clock::Clock;
use crate::domain::delivery::{Next, after_failure};
use crate::domain::time::MINUTE_MS;
use crate::domain::transition::{EventDraft, EventKind, Source};
use crate::store::{Notice, Store, StoreError};
use crate::telemetry::Metrics;
use channel::Channel;
use letter::Letter;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A worker that found its store broken waits this long; the process is about to end anyway.
const AFTER_FAULT: Duration = Duration::from_secs(1);

/// Why a channel cannot be used. The configuration's fault.
#[derive(Debug, thiserror::Error)]
#[error("the channel {channel} of [[notify]] cannot be used: {why}")]
pub struct ChannelError {
    /// Its name.
    pub channel: String,
    /// Why; never what its files hold.
    pub why: String,
}

/// How a test message fared.
#[derive(Debug, Clone)]
pub struct Tested {
    /// The channel's name.
    pub channel: String,
    /// What it is.
    pub kind: &'static str,
    /// Why it was not taken, if it was not.
    pub error: Option<String>,
}

/// All channels, and the way from the store to them.
pub struct Notifier {
    channels: Vec<Channel>,
    /// How messages name this installation.
    installation: String,
    store: Store,
    clock: Clock,
    metrics: Arc<Metrics>,
    bell: watch::Sender<()>,
}

impl Notifier {
    /// Sends what `store` holds for these channels; `bell` is rung when there is more. `extra_ca` (PEM) is
    /// trusted besides the system's roots.
    ///
    /// # Errors
    /// [`ChannelError`] for the first channel that cannot be used.
    pub fn new(
        settings: Vec<ChannelSettings>,
        installation: String,
        extra_ca: Option<&[u8]>,
        (store, clock, metrics): (Store, Clock, Arc<Metrics>),
        bell: watch::Sender<()>,
    ) -> Result<Self, ChannelError> {
        let build = |settings: ChannelSettings| {
            let channel = settings.name.clone();
            Channel::new(settings, extra_ca).map_err(|why| ChannelError { channel, why })
        };
        let channels = settings.into_iter().map(build).collect::<Result<_, _>>()?;
        Ok(Self { channels, installation, store, clock, metrics, bell })
    }

    /// Starts one worker for each channel. They end when `stop` turns true; a message under way then is
    /// sent again after the next start.
    pub fn start(self: &Arc<Self>, stop: &watch::Receiver<bool>) -> JoinSet<()> {
        let mut workers = JoinSet::new();
        for index in 0..self.channels.len() {
            let (this, mut stop) = (Arc::clone(self), stop.clone());
            workers.spawn(async move {
                tokio::select! {
                    biased;
                    _ = stop.wait_for(|stop| *stop) => {}
                    () = this.work(&this.channels[index]) => {}
                }
            });
        }
        workers
    }

    /// Gives up what waits for channels that are no longer configured.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_other_channels(&self) -> Result<usize, StoreError> {
        let known: Vec<_> = self.channels.iter().map(|channel| channel.name.clone()).collect();
        self.store.write(move |tx| tx.drop_notices_but_for(&known)).await
    }

    /// Sends a test message over this channel, or over all of them, past the table. `None`: there is no
    /// such channel.
    pub async fn test(self: &Arc<Self>, channel: Option<&str>) -> Option<Vec<Tested>> {
        let chosen = self.channels.iter().enumerate();
        let chosen: Vec<_> =
            chosen.filter(|(_, it)| channel.is_none_or(|name| it.name == name)).collect();
        if channel.is_some() && chosen.is_empty() {
            return None;
        }
        let mut tests = JoinSet::new();
        for (index, _) in chosen {
            let this = Arc::clone(self);
            tests.spawn(async move {
                let (channel, now) = (&this.channels[index], this.clock.now());
                let letter = Letter::test(&this.installation, now);
                let error = channel.send(&letter, now).await.err();
                this.metrics.notification(&channel.name, outcome(error.is_none()));
                (index, Tested { channel: channel.name.clone(), kind: channel.kind(), error })
            });
        }
        let mut tested = tests.join_all().await;
        tested.sort_by_key(|(index, _)| *index);
        Some(tested.into_iter().map(|(_, tested)| tested).collect())
    }

    async fn work(&self, channel: &Channel) {
        let mut bell = self.bell.subscribe();
        loop {
            match self.deliver_next(channel).await {
                Ok(true) => tokio::time::sleep(channel.pause()).await,
                Ok(false) => self.wait(channel, &mut bell).await,
                Err(error) => {
                    tracing::error!(channel = channel.name, %error, "messages cannot be read or recorded");
                    tokio::time::sleep(AFTER_FAULT).await;
                }
            }
        }
    }

    /// Tries the next message that is due. Returns whether there was one.
    async fn deliver_next(&self, channel: &Channel) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let next = self.store.read(|snapshot| snapshot.next_notice(&channel.name, now))?;
        let Some(notice) = next else { return Ok(false) };
        let letter = Letter::of(&notice, &self.installation);
        let sent = channel.send(&letter, now).await;
        self.record(channel, notice, sent).await?;
        Ok(true)
    }

    async fn record(
        &self,
        channel: &Channel,
        notice: Notice,
        sent: Result<(), String>,
    ) -> Result<(), StoreError> {
        let (now, id) = (self.clock.now(), notice.id);
        let (name, message) = (&channel.name, notice.message.as_str());
        let Err(why) = sent else {
            self.store.write(move |tx| tx.notice_sent(id, now)).await?;
            self.metrics.notification(name, outcome(true));
            tracing::info!(
                channel = name,
                message.id = message,
                alarm = notice.facts.cause,
                "message sent"
            );
            return Ok(());
        };
        let next = match after_failure(notice.tries + 1, notice.first_due, now) {
            Next::Again(at) => Some(at),
            Next::GiveUp => None,
        };
        let event = next.is_none().then(|| {
            let cause = &notice.facts.cause;
            let detail = format!("message {message} about alarm {cause} was given up: the channel {name} did not take it for three days ({why})");
            EventDraft::note(EventKind::Alarm, detail)
        });
        let error = why.clone();
        self.store
            .write(move |tx| {
                if let Some(event) = event {
                    tx.append_event(now, None, Source::Timer, &event)?;
                }
                tx.notice_failed(id, next, &error)
            })
            .await?;
        let word = if next.is_some() { outcome(false) } else { "given_up" };
        self.metrics.notification(name, word);
        tracing::warn!(
            channel = name,
            message.id = message,
            alarm = notice.facts.cause,
            outcome = word,
            next = next.map(tracing::field::display),
            "message not sent: {why}"
        );
        Ok(())
    }

    /// Waits for the bell, or until the next message is due.
    async fn wait(&self, channel: &Channel, bell: &mut watch::Receiver<()>) {
        let now = self.clock.now();
        let due = self.store.read(|snapshot| snapshot.next_notice_due(&channel.name, now));
        let due = due.ok().flatten().map_or(MINUTE_MS, |at| at.ms_since(now)).clamp(1, MINUTE_MS);
        let pause = self.clock.real(Duration::from_millis(due.unsigned_abs()));
        tokio::select! {
            _ = bell.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

const fn outcome(sent: bool) -> &'static str {
    if sent { "sent" } else { "failed" }
}

#[cfg(test)]
mod tests;
