//! Orders: those the marketplace told of, and the question about any.

use super::{Admin, NoBody, limit};
use crate::domain::license::OrderId;
use crate::domain::order::OrderState;
use crate::http::body::{Query, decode_segment, read_json};
use crate::http::problem::{Answer, Problem, json_answer};
use crate::http::shapes;
use crate::store::OrderFilter;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde_json::json;

impl Admin {
    pub(super) async fn orders(&self, query: Option<&str>) -> Result<serde_json::Value, Problem> {
        let query = Query::parse(query, &["state", "limit", "cursor"])?;
        let limit = limit(&query)?;
        let filter = OrderFilter {
            state: query.get("state").map(state).transpose()?,
            below: query.parsed("cursor", "a cursor from an earlier answer")?,
            limit: limit + 1,
        };
        let mut rows = self.lifecycle.store.list(move |s| s.orders(&filter)).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).and_then(|row| row.id).map(|id| id.to_string());
        Ok(shapes::list(&rows.iter().map(shapes::order).collect::<Vec<_>>(), next.as_deref()))
    }

    pub(super) async fn query_order(
        &self,
        segment: &str,
        request: Request<Incoming>,
    ) -> Result<Answer, Problem> {
        let order_id = OrderId::parse(&decode_segment(segment)?)
            .map_err(|error| Problem::bad_request(format!("this is no order: {error}")))?;
        read_json::<NoBody>(request).await?;
        let report = self.lifecycle.query_order(&order_id).await?;
        let document = json!({
            "outcome": report.outcome.as_str(),
            "order": report.order.as_ref().map(shapes::order),
        });
        Ok(json_answer(StatusCode::OK, &document))
    }
}

fn state(word: &str) -> Result<OrderState, Problem> {
    OrderState::parse(word).ok_or_else(|| {
        let known = OrderState::ALL.map(OrderState::as_str).join(", ");
        Problem::bad_request(format!("state must be one of {known}"))
    })
}
