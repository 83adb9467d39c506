//! Each JSON line that a request causes carries its id, whoever writes the line.

use super::request_id;
use std::fmt;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The field's name in a line.
const FIELD: &str = "\"request.id\":";

/// Adds the id to the lines of a JSON format that lack it.
pub(super) struct OfRequest<F>(pub(super) F);

impl<S, N, F> FormatEvent<S, N> for OfRequest<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(id) = request_id() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(&with_id(line, &id))
    }
}

fn with_id(mut line: String, id: &str) -> String {
    // Within a text the quotes would be escaped.
    if let Some(end) = line.rfind('}').filter(|_| !line.contains(FIELD)) {
        line.insert_str(end, &format!(",{FIELD}\"{id}\""));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_id_once() {
        for (line, expected) in [
            ("{\"a\":1}\n", "{\"a\":1,\"request.id\":\"7-1\"}\n"),
            ("{\"request.id\":\"7-1\",\"a\":1}\n", "{\"request.id\":\"7-1\",\"a\":1}\n"),
            (
                "{\"a\":\"\\\"request.id\\\":\"}\n",
                "{\"a\":\"\\\"request.id\\\":\",\"request.id\":\"7-1\"}\n",
            ),
        ] {
            assert_eq!(with_id(line.to_owned(), "7-1"), expected);
        }
    }
}
