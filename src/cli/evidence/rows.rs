//! Rows as lines of an archive: JSON with every column that the row's digest covers, times in
//! milliseconds, bytes in base64.

use crate::domain::hex;
use crate::domain::time::Timestamp;
use crate::store::{CallbackRow, Chain, EventRow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventLine {
    id: i64,
    at: i64,
    code: Option<String>,
    kind: String,
    source: String,
    from: Option<String>,
    to: Option<String>,
    order_id: Option<String>,
    result_code: Option<String>,
    detail: String,
    request_id: Option<String>,
    hash: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CallbackLine {
    id: i64,
    received_at: i64,
    activity: String,
    code: Option<String>,
    test: u8,
    signed_at: Option<i64>,
    verdict: String,
    result_code: String,
    detail: String,
    doctor: Option<String>,
    duration_ms: i64,
    body: String,
    request_id: Option<String>,
    head: Option<String>,
    reply: Option<String>,
    clock_skew_ms: Option<i64>,
    hash: String,
}

/// A line as far as its chain is concerned.
pub(super) struct Placed {
    pub(super) id: i64,
    pub(super) digest: [u8; 32],
    pub(super) hash: [u8; 32],
    /// An event's text, which may tell of heads.
    pub(super) detail: String,
}

/// An event as a line.
pub(super) fn of_event(row: EventRow) -> serde_json::Result<String> {
    serde_json::to_string(&EventLine {
        id: row.id,
        at: row.at.as_ms(),
        code: row.code,
        kind: row.kind,
        source: row.source,
        from: row.from,
        to: row.to,
        order_id: row.order_id,
        result_code: row.result_code,
        detail: row.detail,
        request_id: row.request_id,
        hash: hex::encode(&row.hash),
    })
}

/// A callback as a line.
pub(super) fn of_callback(row: CallbackRow) -> serde_json::Result<String> {
    serde_json::to_string(&CallbackLine {
        id: row.id,
        received_at: row.received_at.as_ms(),
        activity: row.activity,
        code: row.code,
        test: u8::from(row.test),
        signed_at: row.signed_at.map(Timestamp::as_ms),
        verdict: row.verdict,
        result_code: row.result_code,
        detail: row.detail,
        doctor: row.doctor,
        duration_ms: row.duration_ms,
        body: STANDARD.encode(&row.body),
        request_id: row.request_id,
        head: row.head,
        reply: row.reply.map(|reply| STANDARD.encode(reply)),
        clock_skew_ms: row.clock_skew_ms,
        hash: hex::encode(&row.hash),
    })
}

/// Reads a line back, and reckons its digest; `None` when it is no line of this chain.
pub(super) fn placed(chain: Chain, line: &str) -> Option<Placed> {
    match chain {
        Chain::Events => placed_event(line),
        Chain::Callbacks | Chain::Tests => {
            let row = callback_row(line)?;
            let (digest, id, hash) = (row.digest(), row.id, row.hash);
            (row.chain() == chain).then_some(Placed { id, digest, hash, detail: String::new() })
        }
    }
}

fn placed_event(line: &str) -> Option<Placed> {
    let line: EventLine = serde_json::from_str(line).ok()?;
    let row = EventRow {
        id: line.id,
        at: Timestamp::from_ms(line.at),
        code: line.code,
        kind: line.kind,
        source: line.source,
        from: line.from,
        to: line.to,
        order_id: line.order_id,
        result_code: line.result_code,
        detail: line.detail,
        hash: hex::decode_32(&line.hash)?,
        request_id: line.request_id,
    };
    Some(Placed { id: row.id, digest: row.digest(), hash: row.hash, detail: row.detail })
}

fn callback_row(line: &str) -> Option<CallbackRow> {
    let line: CallbackLine = serde_json::from_str(line).ok()?;
    let bytes = |text: &String| STANDARD.decode(text).ok();
    Some(CallbackRow {
        id: line.id,
        received_at: Timestamp::from_ms(line.received_at),
        activity: line.activity,
        code: line.code,
        test: line.test == 1,
        signed_at: line.signed_at.map(Timestamp::from_ms),
        verdict: line.verdict,
        result_code: line.result_code,
        detail: line.detail,
        doctor: line.doctor,
        duration_ms: line.duration_ms,
        body: bytes(&line.body)?,
        request_id: line.request_id,
        head: line.head,
        reply: match &line.reply {
            Some(reply) => Some(bytes(reply)?),
            None => None,
        },
        clock_skew_ms: line.clock_skew_ms,
        hash: hex::decode_32(&line.hash)?,
    })
}
