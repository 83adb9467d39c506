//! Orders that the marketplace tells of (protocol.md 4.6): noted, asked about, and awaited until a code
//! with their number is known.
//!
//! Invariant: 000000 leaves only after the commit that holds the order, its event, the query then owed
//! and the answer itself. Nothing here changes a code.

use super::again::after_backoff;
use super::calls::{CallOutcome, Errand, finished};
use super::evidence::{About, Evidence, Reply};
use super::failed_calls::follow;
use super::perform::{Told, append_without_code};
use super::{Lifecycle, LifecycleError};
use crate::domain::license::{Expiry, OrderId, OrderLineId};
use crate::domain::order::{Order, OrderLine, OrderState, is_not_ours};
use crate::domain::outcome::ResultCode;
use crate::domain::time::Timestamp;
use crate::domain::transition::{EventDraft, EventKind, Source};
use crate::marketplace::{Call, CallResult, Effort};
use crate::protocol::call_name::of_notice;
use crate::protocol::order_notice::{ACTIVITY, OrderNotice};
use crate::store::{OrderFacts, OrderRow, StoreError, Tx, Verdict};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinSet;

/// Orders asked about at once.
const CONCURRENT: i64 = 4;
/// Lines of an order that are kept.
const LINES_MAX: usize = 100;

/// What a query of an order came to, and the order afterwards.
#[derive(Debug, Clone)]
pub struct OrderReport {
    /// What it came to: done, to be tried again, or refused.
    pub outcome: CallOutcome,
    /// The order; `None` when nobody told us of it and the marketplace said nothing either.
    pub order: Option<OrderRow>,
}

/// What a call about an order means for its row.
enum Meaning {
    Answered(Box<Order>),
    /// For good, and why.
    Refused(String),
    /// Again at this time, or else after the backoff.
    Later(Option<Timestamp>),
}

impl Lifecycle {
    /// Test traffic: recorded without waiting for the disk; no order is read or written.
    pub fn test_order_notice(&self, evidence: &Evidence) -> Reply {
        self.record_test(evidence, About { activity: ACTIVITY, code: None, test: true })
    }

    /// Takes in a real order notification. The answer is durable when this returns.
    pub async fn order_notice(&self, notice: OrderNotice, evidence: Evidence) -> Reply {
        let (order_id, now) = (notice.order_id.clone(), self.clock.now());
        let name = of_notice(&notice);
        let before = self.unstored.take(&name);
        let followed = name.clone();
        let take_in = move |tx: &mut Tx<'_>| {
            let (reply, mut told) = take_in(tx, &notice, &evidence, now)?;
            follow(tx, &mut told, &followed, reply.code, before, now)?;
            Ok((reply, told))
        };
        match self.store.write(take_in).await {
            Ok((reply, told)) => {
                self.tell(&told);
                reply
            }
            Err(error) => {
                self.keep_unstored(&name, before);
                tracing::error!(
                    order.id = order_id.as_str(),
                    %error,
                    "an order notification could not be stored and was answered 000005: the marketplace comes again for three hours"
                );
                Reply { code: ResultCode::NotStored, verdict: None }
            }
        }
    }

    /// Asks the marketplace what an order holds, as ordered by an operator.
    ///
    /// # Errors
    /// [`LifecycleError::Store`].
    pub async fn query_order(&self, order_id: &OrderId) -> Result<OrderReport, LifecycleError> {
        let (outcome, answered) = self.ask_about(order_id, Effort::Interactive).await?;
        let (known, code) = self
            .store
            .read(|snapshot| Ok((snapshot.order(order_id)?, snapshot.code_of_order(order_id)?)))?;
        let order = known.or_else(|| Some(not_notified(*answered?, code, self.clock.now())));
        Ok(OrderReport { outcome, order })
    }

    /// Asks about a handful of the orders whose query is due. Returns about how many.
    pub(super) async fn settle_orders(self: &Arc<Self>) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let due = self.store.list(move |snapshot| snapshot.due_orders(now, CONCURRENT)).await?;
        let asked = due.len() as u64;
        let mut under_way = JoinSet::new();
        for order_id in due {
            let this = Arc::clone(self);
            under_way.spawn(async move {
                this.ask_about(&order_id, Effort::Background).await.map(drop)
            });
        }
        while let Some(joined) = under_way.join_next().await {
            finished(joined)?;
        }
        Ok(asked)
    }

    /// Keeps which open orders have got their code, so that they need not be looked at again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn mark_arrived_orders(&self) -> Result<usize, StoreError> {
        self.store.write(|tx| tx.mark_arrived_orders()).await
    }

    async fn ask_about(
        &self,
        order_id: &OrderId,
        effort: Effort,
    ) -> Result<(CallOutcome, Option<Box<Order>>), StoreError> {
        let began = Instant::now();
        let call = self.marketplace.order(order_id, effort).await;
        self.note_call(Errand::Order, &call, began);
        let (order_id, now) = (order_id.clone(), self.clock.now());
        let Call { asked_at, error_code, result, .. } = call;
        let meaning = meaning(result, error_code.as_deref());
        let conclude = move |tx: &mut Tx<'_>| {
            let mut told = Told::default();
            if let Some(row) = tx.order(&order_id)? {
                match &meaning {
                    Meaning::Answered(order) => answered(tx, &mut told, &row, order, asked_at, now),
                    Meaning::Refused(why) => refused(tx, &mut told, &row, why, error_code, now),
                    Meaning::Later(at) => {
                        told.owes();
                        let backoff = after_backoff(row.attempts.saturating_add(1), now);
                        tx.put_off_order(&order_id, at.unwrap_or(backoff), error_code.as_deref())
                    }
                }?;
            }
            Ok((meaning, told))
        };
        let (meaning, told) = self.store.write(conclude).await?;
        self.tell(&told);
        Ok(match meaning {
            Meaning::Answered(order) => (CallOutcome::Done, Some(order)),
            Meaning::Refused(_) => (CallOutcome::Refused, None),
            Meaning::Later(_) => (CallOutcome::RetryLater, None),
        })
    }
}

fn meaning(result: CallResult<Order>, error_code: Option<&str>) -> Meaning {
    match result {
        CallResult::Verdict(order) => Meaning::Answered(Box::new(order)),
        CallResult::Permanent { why } => Meaning::Refused(why),
        // The queue has stopped, as after every 401; this order would only stop it again.
        CallResult::Stopped { .. } if is_not_ours(error_code) => {
            Meaning::Refused("the marketplace says that this order is not ours".to_owned())
        }
        CallResult::Stopped { until } => Meaning::Later(Some(until)),
        CallResult::Retry { .. } | CallResult::Unrecognised { .. } => Meaning::Later(None),
    }
}

/// The one transaction of a notice: nonce, order, event, owed query, record and answer.
fn take_in(
    tx: &mut Tx<'_>,
    notice: &OrderNotice,
    evidence: &Evidence,
    now: Timestamp,
) -> Result<(Reply, Told), StoreError> {
    let mut told = Told::default();
    let about = About { activity: ACTIVITY, code: None, test: notice.test };
    if let Some((verdict, code, detail)) = evidence.replayed(tx)? {
        return Ok((evidence.close(tx, about, verdict, code, detail)?, told));
    }
    let order_id = &notice.order_id;
    if let Some(known) = tx.order(order_id)? {
        let detail = "we were told of this order before: the stored answer";
        let reply = evidence.close(tx, about, Verdict::Repeated, known.result_code, detail)?;
        return Ok((reply, told));
    }
    let code = ResultCode::Done;
    tx.insert_order(order_id, notice.order_line_id.as_ref(), code, now)?;
    told.owes();
    let mut event = EventDraft::note(EventKind::Observed, "bought, code awaited");
    event.order_id = Some(order_id.clone());
    append_without_code(tx, &mut told, Source::Callback, event, now)?;
    Ok((evidence.close(tx, about, Verdict::Applied, code, "")?, told))
}

fn answered(
    tx: &mut Tx<'_>,
    told: &mut Told,
    row: &OrderRow,
    order: &Order,
    asked_at: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    let facts = facts(order, row.order_line_id.as_ref());
    tx.save_order_facts(&row.order_id, &facts, order.brings_a_code(), asked_at)?;
    if row.queried_at.is_some() && row.refused.is_none() {
        return Ok(());
    }
    let kind = facts.kind.as_deref().unwrap_or("of a kind that is not told");
    let product = facts.product_id.as_deref().unwrap_or("not told");
    let detail = if order.brings_a_code() {
        format!("order {kind}, product {product}")
    } else {
        format!("order {kind}, product {product}: it brings no code of its own")
    };
    let mut event = EventDraft::note(EventKind::Observed, detail);
    event.order_id = Some(row.order_id.clone());
    append_without_code(tx, told, Source::Query, event, now)
}

fn refused(
    tx: &mut Tx<'_>,
    told: &mut Told,
    row: &OrderRow,
    why: &str,
    error_code: Option<String>,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.refuse_order(&row.order_id, why, error_code.as_deref())?;
    let detail = format!("the order cannot be read: {why}");
    let mut event = EventDraft::note(EventKind::Observed, detail);
    (event.order_id, event.result_code) = (Some(row.order_id.clone()), error_code);
    append_without_code(tx, told, Source::Query, event, now)
}

fn facts(order: &Order, line: Option<&OrderLineId>) -> OrderFacts {
    let at = |expiry: Option<Expiry>| expiry.map(|expiry| expiry.at);
    let lines: Value = order.lines.iter().take(LINES_MAX).map(line_document).collect();
    let line = order.line(line);
    OrderFacts {
        kind: order.kind.clone(),
        created_at: at(order.created),
        product_id: line.and_then(|line| line.product_id.clone()),
        ends_at: line.and_then(|line| at(line.expiry)),
        lines: lines.to_string(),
    }
}

fn line_document(line: &OrderLine) -> Value {
    json!({
        "order_line_id": line.id.as_ref().map(OrderLineId::as_str),
        "charging_mode": line.charging_mode,
        "period_type": line.period_type,
        "period_number": line.period_number,
        "expires_at": line.expiry.map(|expiry| expiry.at.to_string()),
        "product_id": line.product_id,
    })
}

/// An order that an operator asked about, and nobody told us of: shown, not stored.
fn not_notified(order: Order, code: Option<String>, now: Timestamp) -> OrderRow {
    let state = match (&code, order.brings_a_code()) {
        (Some(_), _) => OrderState::Arrived,
        (None, true) => OrderState::Awaited,
        (None, false) => OrderState::NoCode,
    };
    OrderRow {
        id: None,
        facts: facts(&order, None),
        order_id: order.id,
        order_line_id: None,
        state,
        code,
        notified_at: None,
        result_code: ResultCode::Done,
        queried_at: Some(now),
        query_due_at: None,
        attempts: 0,
        refused: None,
        last_error_code: None,
    }
}
