//! The lists of operators: a page of codes, events, callbacks, heartbeats or usage, and where the next begins.

use super::Admin;
use crate::domain::license::Code;
use crate::domain::slots::parse_rfc3339;
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use crate::domain::transition::{EventKind, Source};
use crate::http::body::Query;
use crate::http::problem::Problem;
use crate::http::shapes;
use crate::store::{CallbackFilter, EventFilter, LicenseFilter, UsageFilter, Verdict};

/// Items in a list unless the caller says otherwise.
const LIMIT_DEFAULT: usize = 100;
/// Items in a list at most (product.md §6).
pub(super) const LIMIT_MAX: usize = 1_000;

impl Admin {
    pub(super) async fn licenses(&self, query: Option<&str>) -> Result<serde_json::Value, Problem> {
        let known = ["state", "expires_before", "expires_after", "text", "q", "limit", "cursor"];
        let query = Query::parse(query, &known)?;
        let limit = limit(&query)?;
        let filter = LicenseFilter {
            state: state(&query)?,
            expires_before: instant(&query, "expires_before")?,
            expires_after: instant(&query, "expires_after")?,
            text: query.text("text").or_else(|| query.text("q")),
            after: query.text("cursor"),
            limit: limit + 1,
            ..LicenseFilter::default()
        };
        let mut rows = self.lifecycle.store.list(move |s| s.licenses(&filter)).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| row.license.code.as_str().to_owned());
        let now = self.now();
        let items: Vec<_> = rows.iter().map(|row| shapes::license(row, now)).collect();
        Ok(shapes::list(&items, next.as_deref()))
    }

    pub(super) async fn events(
        &self,
        query: Option<&str>,
        code: Option<Code>,
    ) -> Result<serde_json::Value, Problem> {
        let known =
            ["code", "kind", "source", "order_id", "since", "until", "after", "limit", "cursor"];
        let query = Query::parse(query, &known)?;
        let limit = limit(&query)?;
        let filter = EventFilter {
            code: code.map(|code| code.as_str().to_owned()).or_else(|| query.text("code")),
            kind: word(&query, "kind", EventKind::ALL.map(EventKind::as_str))?,
            source: word(&query, "source", Source::ALL.map(Source::as_str))?,
            order_id: query.text("order_id"),
            since: instant(&query, "since")?,
            until: instant(&query, "until")?,
            below: query.parsed("cursor", "a cursor from an earlier answer")?,
            above: query.parsed("after", "the id of an event")?,
            limit: limit + 1,
        };
        let mut rows = self.lifecycle.store.list(move |s| s.events(&filter)).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| row.id.to_string());
        Ok(shapes::list(&rows.iter().map(shapes::event).collect::<Vec<_>>(), next.as_deref()))
    }

    pub(super) async fn callbacks(
        &self,
        query: Option<&str>,
    ) -> Result<serde_json::Value, Problem> {
        let query = Query::parse(query, &["code", "verdict", "activity", "limit", "cursor"])?;
        let limit = limit(&query)?;
        let filter = CallbackFilter {
            code: query.text("code"),
            verdict: word(&query, "verdict", Verdict::ALL.map(Verdict::as_str))?,
            activity: query.text("activity"),
            below: query.parsed("cursor", "a cursor from an earlier answer")?,
            limit: limit + 1,
        };
        let mut rows = self.lifecycle.store.list(move |s| s.callbacks(&filter)).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| row.id.to_string());
        Ok(shapes::list(&rows.iter().map(shapes::callback).collect::<Vec<_>>(), next.as_deref()))
    }

    pub(super) async fn probes(&self, query: Option<&str>) -> Result<serde_json::Value, Problem> {
        let query = Query::parse(query, &["limit", "cursor"])?;
        let limit = limit(&query)?;
        let below = query.parsed("cursor", "a cursor from an earlier answer")?;
        let mut rows = self.lifecycle.store.list(move |s| s.probes(below, limit + 1)).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| row.id.to_string());
        Ok(shapes::list(&rows.iter().map(shapes::probe).collect::<Vec<_>>(), next.as_deref()))
    }

    pub(super) async fn usage(&self, query: Option<&str>) -> Result<serde_json::Value, Problem> {
        let query = Query::parse(query, &["code", "state", "limit", "cursor"])?;
        let limit = limit(&query)?;
        let filter = UsageFilter {
            code: query.text("code"),
            state: query.parsed("state", "failed, waiting or sent")?,
            after: query.get("cursor").map(usage_cursor).transpose()?,
            limit: limit + 1,
        };
        let mut rows = self.lifecycle.store.list(move |s| s.usage_days(&filter)).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| format!("{} {}", row.day, row.code));
        Ok(shapes::list(&rows.iter().map(shapes::usage).collect::<Vec<_>>(), next.as_deref()))
    }
}

/// How many items a list shows.
pub(in crate::http) fn limit(query: &Query) -> Result<usize, Problem> {
    let wanted = "a number from 1 to 1000";
    match query.parsed("limit", wanted)? {
        None => Ok(LIMIT_DEFAULT),
        Some(n) if (1..=LIMIT_MAX).contains(&n) => Ok(n),
        Some(_) => Err(Problem::bad_request(format!("limit must be {wanted}"))),
    }
}

/// The state that a list is narrowed to.
pub(in crate::http) fn state(query: &Query) -> Result<Option<State>, Problem> {
    query
        .get("state")
        .map(|word| {
            let states = State::ALL.map(State::as_str).join(", ");
            State::parse(word)
                .ok_or_else(|| Problem::bad_request(format!("state must be one of {states}")))
        })
        .transpose()
}

/// One of the words that a parameter may have.
fn word<const N: usize>(
    query: &Query,
    name: &str,
    words: [&'static str; N],
) -> Result<Option<String>, Problem> {
    match query.get(name) {
        Some(given) if !words.contains(&given) => {
            let known = words.join(", ");
            Err(Problem::bad_request(format!("{name} must be one of {known}")))
        }
        given => Ok(given.map(str::to_owned)),
    }
}

/// Where a page of usage begins: the day and the code that the one before ended with.
fn usage_cursor(text: &str) -> Result<(i64, String), Problem> {
    let place = text.split_once(' ').and_then(|(day, code)| Some((day.parse().ok()?, code)));
    place
        .map(|(day, code)| (day, code.to_owned()))
        .ok_or_else(|| Problem::bad_request("cursor must be a cursor from an earlier answer"))
}

/// A page of a list that is made whole each time; the text of `key` is an item's cursor, and an
/// unknown cursor has nothing after it.
pub(super) fn page(
    query: &Query,
    items: &[serde_json::Value],
    key: &str,
) -> Result<serde_json::Value, Problem> {
    let limit = limit(query)?;
    let from = query.get("cursor").map_or(0, |cursor| {
        items.iter().position(|item| item[key] == cursor).map_or(items.len(), |at| at + 1)
    });
    let page = &items[from..items.len().min(from.saturating_add(limit))];
    let more = from + page.len() < items.len();
    let next = page.last().filter(|_| more).and_then(|item| item[key].as_str());
    Ok(shapes::list(page, next))
}

fn instant(query: &Query, name: &str) -> Result<Option<Timestamp>, Problem> {
    query
        .get(name)
        .map(|text| {
            parse_rfc3339(text).ok_or_else(|| {
                Problem::bad_request(format!("{name} must be a time such as 2026-11-22T08:00:00Z"))
            })
        })
        .transpose()
}
