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
mod framing;
mod health;
mod keys;
mod problem;
mod server;
mod shapes;
mod software;
mod tls;

pub use access::Token;
pub use admin::Admin;
pub use answers::Answers;
pub use callback::{CallbackRoute, Door};
pub use keys::{KeyUse, LiveKeys};
pub use problem::Answer;
pub use server::{Limits, Listener, Serving, Tls, serve};
pub use software::{NewCodes, Software};
pub use tls::{Certificate, TlsError};
