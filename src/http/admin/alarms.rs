//! Alarms: what is wrong now, what was, who looks after it, and whether the channels work.

use super::{Admin, limit, page, short};
use crate::http::body::{Query, decode_segment, read_json};
use crate::http::problem::{Answer, Problem, json_answer};
use crate::http::shapes;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::Deserialize;

/// Which channels to test.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TestBody {
    channel: Option<String>,
}

/// Why somebody looks after an alarm.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AcknowledgeBody {
    reason: String,
}

impl Admin {
    pub(super) async fn alarms(&self, query: Option<&str>) -> Result<serde_json::Value, Problem> {
        let query = Query::parse(query, &["state", "limit", "cursor"])?;
        match query.get("state") {
            None | Some("open") => {
                let alarms = self.guard.listed_alarms()?;
                page(&query, &alarms.iter().map(shapes::alarm).collect::<Vec<_>>(), "id")
            }
            Some("cleared") => {
                let limit = limit(&query)?;
                let below = query.parsed("cursor", "a cursor from an earlier answer")?;
                let mut alarms = self.guard.cleared_alarms(below, limit + 1).await?;
                let more = alarms.len() > limit;
                alarms.truncate(limit);
                let last = alarms.last().filter(|_| more).and_then(|alarm| alarm.entry.as_ref());
                let next = last.map(|row| row.id.to_string());
                let items: Vec<_> = alarms.iter().map(shapes::alarm).collect();
                Ok(shapes::list(&items, next.as_deref()))
            }
            Some(_) => Err(Problem::bad_request("state must be open or cleared")),
        }
    }

    pub(super) async fn acknowledge_alarm(
        &self,
        segment: &str,
        request: Request<Incoming>,
    ) -> Result<Answer, Problem> {
        let id = decode_segment(segment)?;
        let reason = short("reason", read_json::<AcknowledgeBody>(request).await?.reason)?;
        if reason.trim().is_empty() {
            return Err(Problem::bad_request("reason must say why"));
        }
        let listed = self.guard.acknowledge(&id, reason).await?;
        let listed = listed.ok_or_else(|| Problem::not_found("alarm"))?;
        Ok(json_answer(StatusCode::OK, &shapes::alarm(&listed)))
    }

    /// Waits for each channel to answer, 30 s at most.
    pub(super) async fn test_channels(
        &self,
        request: Request<Incoming>,
    ) -> Result<Answer, Problem> {
        let asked = read_json::<TestBody>(request).await?;
        let tested = self.notifier.test(asked.channel.as_deref()).await;
        let tested = tested.ok_or_else(|| Problem::not_found("channel"))?;
        let items: Vec<_> = tested.iter().map(shapes::tested).collect();
        Ok(json_answer(StatusCode::OK, &shapes::list(&items, None)))
    }
}
