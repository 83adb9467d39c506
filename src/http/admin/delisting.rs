//! Where we stand with the marketplace's dial test, and an operator's word about it.

use super::{Admin, short};
use crate::domain::delisting::DAYS_MAX;
use crate::domain::dial_test::{Half, Window};
use crate::domain::slots::TimeOfDay;
use crate::guard::Availability;
use crate::http::body::read_json;
use crate::http::problem::{Answer, Problem, json_answer};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

/// What an operator says of the delisting clock.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DelistingBody {
    failing_days: i64,
    reason: String,
}

impl Admin {
    pub(super) async fn correct_delisting(
        &self,
        request: Request<Incoming>,
    ) -> Result<Answer, Problem> {
        let DelistingBody { failing_days, reason } = read_json(request).await?;
        if !(0..=DAYS_MAX).contains(&failing_days) {
            let why = format!("failing_days must be a number from 0 to {DAYS_MAX}");
            return Err(Problem::bad_request(why));
        }
        let reason = short("reason", reason)?.trim().to_owned();
        if reason.is_empty() {
            return Err(Problem::bad_request("reason must say why: it is kept with the event"));
        }
        self.guard.correct_delisting(failing_days, reason).await?;
        Ok(json_answer(StatusCode::OK, &self.stand().await?))
    }
}

/// The delisting clock.
pub(super) fn clock(stand: &Availability) -> Value {
    let corrected = stand.corrected.as_ref().map(|corrected| {
        json!({
            "at": corrected.word.at.to_string(),
            "failing_days": corrected.word.failing_days,
            "reason": corrected.reason,
        })
    });
    json!({
        "failing_days": stand.delisting.failing_days,
        "since": stand.delisting.since().map(|at| at.to_string()),
        "corrected": corrected,
    })
}

/// When the marketplace dials.
pub(super) fn dial_tests(stand: &Availability) -> Value {
    let [morning, afternoon] = Half::ALL.map(|half| stand.windows.of(half).map(window));
    json!({
        "last_at": stand.last_dial_test.map(|at| at.to_string()),
        "morning": morning,
        "afternoon": afternoon,
    })
}

/// In Beijing's time of day.
fn window(window: Window) -> Value {
    let Window { earliest, latest } = window;
    json!({
        "earliest": TimeOfDay::of_minute(earliest).to_string(),
        "latest": TimeOfDay::of_minute(latest).to_string(),
    })
}
