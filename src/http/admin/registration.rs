//! Registration of a code, by an operator or by the software.

use super::short;
use crate::domain::license::{Code, OrderId};
use crate::domain::transition::Source;
use crate::http::problem::{Answer, Problem, json_answer};
use crate::http::shapes;
use crate::lifecycle::{Lifecycle, Registration};
use hyper::StatusCode;
use serde::Deserialize;
use std::time::Duration;

/// What `POST /v1/licenses` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct RegistrationBody {
    code: String,
    received: Option<bool>,
    activate: Option<bool>,
    order_id: Option<String>,
    product_id: Option<String>,
    note: Option<String>,
}

impl RegistrationBody {
    /// Parses what it holds; the code is trimmed, because a person may have typed it.
    pub(in crate::http) fn check(self, wait: Duration) -> Result<Registration, Problem> {
        let code = Code::parse(self.code.trim())
            .map_err(|error| Problem::bad_request(format!("code: {error}")))?;
        let order_id = self
            .order_id
            .map(|text| OrderId::parse(&text))
            .transpose()
            .map_err(|error| Problem::bad_request(format!("order_id: {error}")))?;
        Ok(Registration {
            code,
            received: self.received.unwrap_or(true),
            activate: self.activate.unwrap_or(true),
            order_id,
            product_id: self.product_id.map(|text| short("product_id", text)).transpose()?,
            note: self.note.map(|text| short("note", text)).transpose()?,
            wait,
        })
    }
}

/// Registers a code, and says what happens next; 201 when it is new.
pub(in crate::http) async fn register(
    lifecycle: &Lifecycle,
    asked: Registration,
    source: Source,
) -> Result<Answer, Problem> {
    let registered = lifecycle.register(asked, source).await?;
    let status = if registered.new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json_answer(status, &shapes::license(&registered.license, lifecycle.clock.now())))
}
