//! Codes we did not know: taken over when the marketplace knows them, with the callbacks that waited.

use super::perform::{Performed, Told, append, perform};
use crate::domain::license::{Code, License};
use crate::domain::slots::Zone;
use crate::domain::time::Timestamp;
use crate::domain::transition::{Command, EventDraft, EventKind, QueryAnswer, Source};
use crate::protocol::callback;
use crate::store::{Orphan, StoreError, Tx};

/// Takes a code over: a row, what the marketplace says of it, and the callbacks that waited for it.
pub(super) fn adopt(
    tx: &mut Tx<'_>,
    told: &mut Told,
    code: &Code,
    answer: QueryAnswer,
    zone: Zone,
    now: Timestamp,
) -> Result<License, StoreError> {
    let license = License::issued(code.clone(), now);
    tx.save_license(&license, None)?;
    let event =
        EventDraft::note(EventKind::Adopted, "known to the marketplace, but not to us until now");
    append(tx, told, code, Source::Query, event, now)?;
    let license = match perform(tx, told, &license, &Command::Query(answer), Source::Query, now)? {
        Performed::Done(license) => *license,
        Performed::Stale | Performed::Refused => license,
    };
    apply_waiting(tx, told, license, zone, now)
}

/// Applies the callbacks that waited for this code, in the order they came.
pub(super) fn apply_waiting(
    tx: &mut Tx<'_>,
    told: &mut Told,
    mut license: License,
    zone: Zone,
    now: Timestamp,
) -> Result<License, StoreError> {
    for orphan in tx.orphans(&license.code)? {
        if let Some(command) = command_of(&orphan, zone)
            && let Performed::Done(next) =
                perform(tx, told, &license, &command, Source::Callback, now)?
        {
            license = *next;
        }
        tx.settle_orphan(orphan.id, now)?;
    }
    Ok(license)
}

/// The marketplace has been asked about a code that only orphans name.
pub(super) fn settle(
    tx: &mut Tx<'_>,
    told: &mut Told,
    code: &Code,
    answer: QueryAnswer,
    zone: Zone,
    now: Timestamp,
) -> Result<(), StoreError> {
    use crate::domain::transition::QueryVerdict;
    let orphans = tx.orphans(code)?;
    let released = orphans
        .iter()
        .any(|orphan| matches!(command_of(orphan, zone), Some(Command::Release { .. })));
    let note = match (&answer.verdict, released) {
        (_, _) if orphans.is_empty() => return Ok(()),
        (QueryVerdict::Alive(_), true) => {
            "the marketplace released this code, which we never held, and now calls it ALIVE"
        }
        (_, true) => "",
        (QueryVerdict::UnknownCode, false) => {
            "a callback named this code, which neither we nor the marketplace know: ask its operations"
        }
        (_, false) => {
            adopt(tx, told, code, answer, zone, now)?;
            return Ok(());
        }
    };
    if !note.is_empty() {
        let event = EventDraft::note(EventKind::Contradiction, note);
        append(tx, told, code, Source::Query, event, now)?;
    }
    for orphan in orphans {
        tx.settle_orphan(orphan.id, now)?;
    }
    Ok(())
}

/// What an orphan asked for; it was verified and decoded once before.
fn command_of(orphan: &Orphan, zone: Zone) -> Option<Command> {
    match callback::decode_stored(&orphan.body, orphan.signed_at, zone) {
        Ok(callback) => Some(callback.command),
        Err(error) => {
            tracing::error!(callback.id = orphan.id, %error, "an orphan cannot be read any more: look at it with `authcoded callback show`");
            None
        }
    }
}
