//! Drift: codes compared with the marketplace on order, and repaired by name.

use super::Admin;
use super::lists::{LIMIT_MAX, limit, state};
use crate::domain::license::Code;
use crate::http::body::Query;
use crate::http::problem::{Answer, Problem, json_answer};
use crate::http::shapes;
use crate::lifecycle::LifecycleError;
use crate::store::LicenseFilter;
use hyper::StatusCode;
use serde::Deserialize;
use serde_json::json;

/// Which codes to repair.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RepairBody {
    codes: Vec<String>,
}

impl Admin {
    /// Asks about a page of codes, by default a small one, because each is a paced call.
    pub(super) async fn drift(&self, query: Option<&str>) -> Result<serde_json::Value, Problem> {
        let query = Query::parse(query, &["state", "text", "limit", "cursor"])?;
        let limit = limit(&query)?;
        let filter = LicenseFilter {
            state: state(&query)?,
            text: query.text("text"),
            after: query.text("cursor"),
            limit,
            ..LicenseFilter::default()
        };
        let page = self.lifecycle.drift(filter).await?;
        let items: Vec<_> = page.items.iter().map(shapes::drift).collect();
        let mut document = shapes::list(&items, page.next.as_deref());
        document["unasked"] = json!(page.unasked);
        Ok(document)
    }

    /// Repairs the codes that are named, each with its own outcome.
    pub(super) async fn repair(&self, asked: RepairBody) -> Result<Answer, Problem> {
        if asked.codes.len() > LIMIT_MAX {
            return Err(Problem::bad_request("at most 1000 codes at once"));
        }
        let parse = |text: &String| {
            Code::parse(text).map_err(|error| Problem::bad_request(format!("{text:?}: {error}")))
        };
        let codes: Vec<Code> = asked.codes.iter().map(parse).collect::<Result<_, _>>()?;
        let mut items = Vec::with_capacity(codes.len());
        for code in codes {
            items.push(match self.lifecycle.repair(&code).await {
                Ok((outcome, row)) => json!({
                    "code": code.as_str(),
                    "outcome": outcome.as_str(),
                    "why": null,
                    "license": shapes::license(&row, self.now()),
                }),
                Err(LifecycleError::Store(error)) => return Err(error.into()),
                Err(error @ (LifecycleError::UnknownCode | LifecycleError::Released)) => json!({
                    "code": code.as_str(),
                    "outcome": "refused",
                    "why": error.to_string(),
                    "license": null,
                }),
            });
        }
        Ok(json_answer(StatusCode::OK, &shapes::list(&items, None)))
    }
}
