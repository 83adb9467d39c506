//! The console's one page: an overview for the eye, and the list of what can be asked.
//!
//! Invariant: everything that came from outside is escaped.

use super::calls::{Call, CallState};
use super::faults;
use super::state::{Shared, State};
use std::fmt::Write as _;

const PATHS: &str = r#"GET    /console/codes                         ?limit= &after=
POST   /console/codes                         {"license"? "validity_seconds"? "expire_time"? "received"? "product_id"? "amount"? "count"? "order_notify"?}
GET    /console/codes/{code}
POST   /console/codes/{code}/receive | expire | freeze | unfreeze | refund | release     {"silent"?}
POST   /console/codes/{code}/renew            {"seconds"? "expire_time"? "product_id"? "silent"? "reversed"?}
POST   /console/codes/{code}/unrenew          {"expire_time"? "silent"?}
GET    /console/calls                         ?license= &limit=
GET    /console/failed
POST   /console/failed/{id}/restart
GET    /console/requests                      ?limit=
GET    /console/usage                         ?license=
GET    /console/dial-tests
POST   /console/dial-test
POST   /console/send                          {"body" "bad_signature"? "wrong_key"? "old_key"? "skew_s"? "nonce"? "test"?}
GET    /console/faults
POST   /console/faults                        {"rules":[{"on":"activate|query|usage|order|callback|connection" "code"? "times"? "probability"? "fault"}]}
DELETE /console/faults
PUT    /console/callback-url                  {"url"}
PUT    /console/order-url                     {"url"}  (where order notifications go)
PUT    /console/lock                          (locks the access key for five minutes)
DELETE /console/lock"#;

/// The page.
pub(super) fn overview(shared: &Shared) -> String {
    let now = shared.pace.now();
    let body = shared.look(|state| {
        let mut text = String::new();
        let locked = state.guard.locked_until(now);
        let facts = [
            ("time", now.to_string()),
            ("callback URL", state.kept.callback_url.clone().unwrap_or_else(|| "none".to_owned())),
            ("order URL", state.kept.order_url.clone().unwrap_or_else(|| "none".to_owned())),
            ("codes", state.kept.market.size().to_string()),
            ("calls to deliver", state.kept.calls.pending().len().to_string()),
            ("access key locked until", locked.map_or("not locked".to_owned(), |t| t.to_string())),
            ("failing dial-test days", state.kept.dial_tests.failing_days().to_string()),
            ("data file", shared.write_error().unwrap_or_else(|| "up to date or none".to_owned())),
        ];
        text.push_str("<table>");
        for (name, value) in facts {
            _ = write!(text, "<tr><th>{name}</th><td>{}</td></tr>", escape(&value));
        }
        text.push_str("</table>");
        text.push_str(&failed(state));
        text.push_str(&answered(state));
        text
    });
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Simulated marketplace</title>\
         <style>body{{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;\
         color-scheme:light dark}}th{{text-align:left;padding-right:1rem}}pre{{overflow-x:auto}}</style></head>\
         <body><h1>Simulated marketplace</h1>{body}<h2>What can be asked</h2><pre>{}</pre>\
         <h2>Faults</h2><pre>{}</pre></body></html>",
        escape(PATHS),
        escape(faults::NAMES),
    )
}

fn failed(state: &State) -> String {
    let failed = state.kept.calls.newest_first().filter(|call| call.state == CallState::Failed);
    let rows: String = failed.take(100).map(failed_row).collect();
    if rows.is_empty() {
        return "<h2>Failed calls (生产接口消息)</h2><p>None.</p>".to_owned();
    }
    format!("<h2>Failed calls (生产接口消息)</h2><table>{rows}</table>")
}

fn failed_row(call: &Call) -> String {
    let error = call.attempts.last().and_then(|attempt| attempt.error.as_deref());
    format!(
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td><form method=\"post\" \
         action=\"/console/failed/{}/restart\"><button>重新启动 restart</button></form></td></tr>",
        call.id,
        escape(&call.message.activity),
        escape(call.message.license.as_deref().unwrap_or_default()),
        escape(error.unwrap_or_default()),
        call.id,
    )
}

fn answered(state: &State) -> String {
    let mut text = "<h2>Answers of the open API since the start</h2><table>".to_owned();
    for (name, count) in &state.counters {
        _ = write!(text, "<tr><th>{}</th><td>{count}</td></tr>", escape(name));
    }
    text.push_str("</table>");
    text
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_outside_cannot_be_markup() {
        assert_eq!(escape("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}
