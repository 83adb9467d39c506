//! Bytes of the wire to values of the domain and back. Pure: no IO, no clock, no async.
//!
//! Invariant: nothing of a callback's body is looked at before its signature holds, because
//! [`callback::decode`] takes a [`callback_auth::Verified`] and only [`callback_auth::verify`] makes one.

pub mod aksk;
mod aksk_verify;
mod body;
pub mod call_name;
pub mod callback;
pub mod callback_auth;
pub mod head;
mod json;
pub mod lease;
pub mod open_api;
pub mod order_notice;
mod parameters;
pub mod signature_doctor;
mod sorted_form;

pub use crate::domain::hex;
pub use body::DecodeError;
