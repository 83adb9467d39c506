//! What the daemon tells of itself: log lines on stderr, error chains, and the metrics registry.
//!
//! Invariant: nothing here reads a secret, and a panic is logged without what it carried.

mod format;
mod metrics;
mod request;
mod watch;

pub use metrics::{Answered, Metrics};
pub use request::{as_request, request_id};
pub use watch::WatchMetrics;

use format::OfRequest;
use serde::Deserialize;
use std::error::Error;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::sync::OnceLock;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, reload};

/// The least important level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the usual five words")]
pub enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl Level {
    const fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One readable line.
    Text,
    /// One JSON object a line, its fields at the top.
    Json,
}

/// Starts logging to stderr and replaces the panic hook. Call it once, first; a second call changes
/// nothing.
pub fn init(level: Level, format: Format) {
    let on_terminal = std::io::stderr().is_terminal();
    let json = match format {
        Format::Auto => !on_terminal,
        Format::Text => false,
        Format::Json => true,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = if json {
        let layer = layer.json().flatten_event(true);
        layer.with_current_span(false).with_span_list(false).map_event_format(OfRequest).boxed()
    } else {
        layer.with_target(false).with_ansi(on_terminal).boxed()
    };
    let (ours, handle) = reload::Layer::new(of(level));
    if tracing_subscriber::registry().with(layer.with_filter(ours)).try_init().is_ok() {
        drop(LEVEL.set(Box::new(move |level| drop(handle.reload(of(level))))));
        std::panic::set_hook(Box::new(log_panic));
    }
}

/// Sets the level of the logging that [`init`] has started.
type SetLevel = Box<dyn Fn(Level) + Send + Sync>;
static LEVEL: OnceLock<SetLevel> = OnceLock::new();

/// Logs at another level from now on.
pub fn set_level(level: Level) {
    if let Some(set) = LEVEL.get() {
        set(level);
    }
}

fn of(level: Level) -> Targets {
    // Of the crates below only what is wrong, because they would log addresses with their queries.
    Targets::new()
        .with_default(level.filter().min(LevelFilter::WARN))
        .with_target("authcoded", level.filter())
}

/// One line with the place. A formatted message may hold anything, so only a literal one is shown.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(withheld)");
    let current = std::thread::current();
    tracing::error!(
        panic.location = place,
        panic.message = message,
        thread = current.name().unwrap_or("unnamed"),
        "a bug of authcoded: panic; please report it with this line"
    );
}

/// An error and all its causes on one line, outermost first: the one place that prints chains.
#[must_use]
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let shown = error.to_string();
        // Some libraries repeat the cause in their own message.
        if !text.ends_with(&shown) {
            let _ = write!(text, ": {shown}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the marketplace: no answer")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("connection refused")]
    struct Inner;

    #[test]
    fn a_chain_is_one_line() {
        assert_eq!(error_chain(&Outer(Inner)), "the marketplace: no answer: connection refused");
        assert_eq!(error_chain(&Inner), "connection refused");
    }
}
