//! Alarms: what is wrong now, what was, who looks after it, and whether the channels work.

use super::{Admin, limit, short};
use crate::domain::time::Timestamp;
use crate::guard::{Listed, Severity};
use crate::http::body::{Query, decode_segment, read_json};
use crate::http::problem::{Answer, Problem, json_answer};
use crate::http::shapes;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::Deserialize;
use std::cmp::Reverse;

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

/// Where an alarm stands among those that are open: the most urgent first, then the newest.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(Reverse<Severity>, Reverse<Timestamp>, String);

impl Place {
    fn of(alarm: &Listed) -> Self {
        Self(Reverse(alarm.severity), Reverse(alarm.since), alarm.facts.cause.clone())
    }

    /// As a cursor: `severity since cause`.
    fn text(&self) -> String {
        let Self(Reverse(severity), Reverse(since), cause) = self;
        format!("{} {} {cause}", severity.as_str(), since.as_ms())
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        let wrong = || Problem::bad_request("cursor must be a cursor from an earlier answer");
        Self::read(text).ok_or_else(wrong)
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        let severity = Severity::parse(parts.next()?)?;
        let since = Timestamp::from_ms(parts.next()?.parse().ok()?);
        Some(Self(Reverse(severity), Reverse(since), parts.next()?.to_owned()))
    }
}

impl Admin {
    pub(super) async fn alarms(&self, query: Option<&str>) -> Result<serde_json::Value, Problem> {
        let query = Query::parse(query, &["state", "limit", "cursor"])?;
        match query.get("state") {
            None | Some("open") => self.open_alarms(&query),
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

    /// A page goes on behind the place that the one before ended at, whether or not that alarm is still wrong.
    fn open_alarms(&self, query: &Query) -> Result<serde_json::Value, Problem> {
        let limit = limit(query)?;
        let from = query.get("cursor").map(Place::parse).transpose()?;
        let mut alarms = self.guard.listed_alarms()?;
        alarms.sort_by_cached_key(Place::of);
        alarms.retain(|alarm| from.as_ref().is_none_or(|from| Place::of(alarm) > *from));
        let more = alarms.len() > limit;
        alarms.truncate(limit);
        let next = alarms.last().filter(|_| more).map(|alarm| Place::of(alarm).text());
        Ok(shapes::list(&alarms.iter().map(shapes::alarm).collect::<Vec<_>>(), next.as_deref()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_its_place_and_the_most_urgent_stands_first() {
        let place = |severity, ms, cause: &str| {
            Place(Reverse(severity), Reverse(Timestamp::from_ms(ms)), cause.to_owned())
        };
        let ordered = [
            place(Severity::Emergency, 1, "delisting"),
            place(Severity::High, 9, "a cause with blanks"),
            place(Severity::High, 8, "b"),
            place(Severity::High, 8, "c"),
            place(Severity::Warning, 99, "clock"),
        ];
        assert!(ordered.is_sorted());
        for place in &ordered {
            assert_eq!(Place::parse(&place.text()).ok().as_ref(), Some(place));
        }
        for bad in ["", "clock", "high", "high x clock", "low 1 clock", "high 1"] {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
    }
}
