//! A code becomes known, or somebody orders a move: by the operator, or by the licensed software.

use super::orphans::apply_waiting;
use super::perform::{
    Performed, Told, append, perform, waits_behind_a_freeze, waits_for_activation,
};
use super::{Lifecycle, LifecycleError};
use crate::domain::license::{Code, License, OrderId};
use crate::domain::transition::{Command, EventDraft, EventKind, Source};
use crate::store::{Call, LicenseRow};
use std::time::Duration;

/// What `POST /v1/licenses` asks for.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The code.
    pub code: Code,
    /// The buyer has received it.
    pub received: bool,
    /// Start the activation.
    pub activate: bool,
    /// The purchase's order.
    pub order_id: Option<OrderId>,
    /// The product bought.
    pub product_id: Option<String>,
    /// A remark.
    pub note: Option<String>,
    /// How long the caller waits for what comes of the activation.
    pub wait: Duration,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Registered {
    /// The code was not known before.
    pub new: bool,
    /// The licence afterwards.
    pub license: LicenseRow,
}

impl Lifecycle {
    /// Registers a code, or brings what is known of it up to date, and starts its activation.
    ///
    /// # Errors
    /// [`LifecycleError::Store`].
    pub async fn register(
        &self,
        asked: Registration,
        source: Source,
    ) -> Result<Registered, LifecycleError> {
        let (zone, now) = (self.zone, self.clock.now());
        let (code, wait) = (asked.code.clone(), asked.wait);
        let (new, told, owes) = self
            .store
            .write(move |tx| {
                let mut told = Told::default();
                let known = tx.license(&asked.code)?;
                let new = known.is_none();
                let mut license = known.unwrap_or_else(|| License::issued(asked.code, now));
                let before = (!new).then(|| license.clone());
                license.order_id = asked.order_id.or(license.order_id);
                license.product_id = asked.product_id.or(license.product_id);
                license.note = asked.note.or(license.note);
                if before.as_ref() != Some(&license) {
                    tx.save_license(&license, before.map(|row| row.state()))?;
                }
                if new {
                    let event = EventDraft::note(EventKind::Registered, "");
                    append(tx, &mut told, &license.code, source, event, now)?;
                    license = apply_waiting(tx, &mut told, license, zone, now)?;
                }
                if asked.received
                    && let Performed::Done(next) =
                        perform(tx, &mut told, &license, &Command::BuyerReceived, source, now)?
                {
                    license = *next;
                }
                let activates = waits_for_activation(&license) || waits_behind_a_freeze(&license);
                if asked.activate && activates {
                    tx.owe(&license.code, Call::Activate, now, now)?;
                }
                Ok((new, told, asked.activate && activates))
            })
            .await?;
        self.tell(&told);
        if owes && !wait.is_zero() {
            // Whatever comes of it: the activation stays owed until it is settled.
            self.activate_within(&code, wait).await?;
        }
        if owes {
            self.owed.notify_one();
        }
        Ok(Registered { new, license: self.row(&code)? })
    }

    /// An operator says the buyer has received the code, or that the code is over.
    ///
    /// # Errors
    /// [`LifecycleError::UnknownCode`], [`LifecycleError::Released`], [`LifecycleError::Store`].
    pub async fn order(
        &self,
        code: &Code,
        command: Command,
        reason: Option<String>,
    ) -> Result<LicenseRow, LifecycleError> {
        let (key, now) = (code.clone(), self.clock.now());
        let done = self
            .store
            .write(move |tx| {
                let Some(license) = tx.license(&key)? else {
                    return Ok(None);
                };
                let mut told = Told::default();
                let performed = perform(tx, &mut told, &license, &command, Source::Operator, now)?;
                if let (Performed::Done(_), Some(reason)) = (&performed, reason) {
                    let detail = format!("reason given: {reason}");
                    let event = EventDraft::note(EventKind::Operator, detail);
                    append(tx, &mut told, &key, Source::Operator, event, now)?;
                }
                Ok(Some((told, matches!(performed, Performed::Refused))))
            })
            .await?;
        let (told, refused) = done.ok_or(LifecycleError::UnknownCode)?;
        self.tell(&told);
        if refused { Err(LifecycleError::Released) } else { self.row(code) }
    }

    fn row(&self, code: &Code) -> Result<LicenseRow, LifecycleError> {
        self.store.read(|snapshot| snapshot.license_row(code))?.ok_or(LifecycleError::UnknownCode)
    }
}
