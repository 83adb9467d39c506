//! What an operator ordered, and why, where the order itself leaves no event of his.

use super::perform::{Told, append, append_without_code};
use super::{Lifecycle, LifecycleError};
use crate::domain::license::Code;
use crate::domain::transition::{EventDraft, EventKind, Source};

impl Lifecycle {
    /// Keeps that an operator ordered `what`, about a code or about none, with the reason that was given.
    ///
    /// # Errors
    /// [`LifecycleError::UnknownCode`], [`LifecycleError::Store`].
    pub async fn remark(
        &self,
        code: Option<&Code>,
        what: &str,
        reason: Option<&str>,
    ) -> Result<(), LifecycleError> {
        let reason = reason.map_or_else(String::new, |reason| format!("; reason given: {reason}"));
        let event = EventDraft::note(EventKind::Operator, format!("ordered: {what}{reason}"));
        let (code, now) = (code.cloned(), self.clock.now());
        let told = self
            .store
            .write(move |tx| {
                let mut told = Told::default();
                match &code {
                    None => append_without_code(tx, &mut told, Source::Operator, event, now)?,
                    Some(code) if tx.license(code)?.is_none() => return Ok(None),
                    Some(code) => append(tx, &mut told, code, Source::Operator, event, now)?,
                }
                Ok(Some(told))
            })
            .await?;
        self.tell(&told.ok_or(LifecycleError::UnknownCode)?);
        Ok(())
    }
}
