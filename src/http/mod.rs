//! The listeners: what the marketplace calls, what operators call, what the licensed software calls.
//!
//! Invariant: whatever comes in gets a clear answer within its deadlines, and nothing here decides
//! about a code; a log line never holds a query string, because it carries the signature.

mod access;
mod admin;
mod allowance;
mod answers;
mod body;
mod callback;
mod connection;
mod csv;
mod deadline;
mod framing;
mod health;
mod keys;
mod page;
mod problem;
mod reply_body;
mod server;
mod shapes;
mod software;
mod tls;

pub use access::Token;
pub use admin::Admin;
pub use answers::Answers;
pub use callback::{CallbackRoute, Door};
pub use connection::Begun;
pub use csv::{LICENSE_FIELDS, csv_line};
pub use keys::{KeyUse, LiveKeys};
pub use page::Shown;
pub use problem::Answer;
pub use reply_body::ReplyBody;
pub use server::{Limits, Listener, Serving, Tls, serve};
pub use software::{NewCodes, Software};
pub use tls::{Certificate, TlsError};
