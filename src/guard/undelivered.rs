//! Messages about alarms that do not reach anybody are an alarm of their own.

use super::alarms::{Alarm, Severity};
use crate::domain::time::{HOUR_MS, Timestamp};
use crate::store::{Snapshot, StoreError, Undelivered};

/// A channel that takes nothing for this long is told of, on the others.
const STUCK_MS: i64 = HOUR_MS;

/// One alarm for each channel that takes nothing.
pub(super) fn alarms(snapshot: &Snapshot<'_>, now: Timestamp) -> Result<Vec<Alarm>, StoreError> {
    let stuck = snapshot.undelivered_notices(now.plus_ms(-STUCK_MS))?;
    Ok(stuck.into_iter().map(of_channel).collect())
}

fn of_channel(stuck: Undelivered) -> Alarm {
    let Undelivered { channel, messages, since, error } = stuck;
    Alarm {
        id: format!("notify-{channel}"),
        kind: "notify_failed",
        since,
        severity: Severity::High,
        code: None,
        text: format!("{messages} messages for the channel {channel} do not get through: {error}"),
        what_to_do: "repair the channel, then `authcoded alarm test`; they are tried again every 15 minutes for three days",
    }
}
