//! A callback's body, read field by field as the protocol's tables say (protocol.md 4.2 to 4.6).
//!
//! Invariant: a field is a JSON string, named once; absent, null and empty are the same.

use super::json::{Bad, Fields};
use crate::domain::outcome::ResultCode;
use std::fmt;

/// Why a verified body is no call that we know. The marketplace's fault, or the debug case's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not one JSON object.
    #[error("the caller's body is not a JSON object: {0}")]
    Body(#[from] Bad),
    /// A mandatory field is absent, null or empty.
    #[error("the caller's body has no {0}")]
    Missing(&'static str),
    /// A field is a number, a list or the like.
    #[error("the caller's {0} is not a string")]
    NotText(&'static str),
    /// A field is too long, or a word nobody told us of.
    #[error("the caller's {field} is {problem}")]
    Field {
        /// Its name on the wire.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// One of our activities, sent to the address of another type of interface.
    #[error(
        "{activity} belongs to the path that {path} names, not to this one: correct the address in the seller's console"
    )]
    Elsewhere {
        /// The activity.
        activity: &'static str,
        /// The key of the configuration that names the path it belongs to.
        path: &'static str,
    },
}

impl DecodeError {
    /// What is answered: always 000002.
    #[must_use]
    pub const fn result_code(&self) -> ResultCode {
        match self {
            Self::Body(_)
            | Self::Missing(_)
            | Self::NotText(_)
            | Self::Field { .. }
            | Self::Elsewhere { .. } => ResultCode::Malformed,
        }
    }
}

/// The fields of a body.
pub(super) struct Body(Fields);

impl Body {
    /// Parses the bytes of a body.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self(Fields::parse(bytes)?))
    }

    /// An optional text: absent, null and empty are the same.
    pub(super) fn optional(&self, field: &'static str) -> Result<Option<&str>, DecodeError> {
        let text = self.0.text(field).map_err(|_| DecodeError::NotText(field))?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// A mandatory text.
    pub(super) fn mandatory(&self, field: &'static str) -> Result<&str, DecodeError> {
        self.optional(field)?.ok_or(DecodeError::Missing(field))
    }

    /// A mandatory text out of a closed list.
    pub(super) fn word<T>(
        &self,
        field: &'static str,
        parse: fn(&str) -> Option<T>,
    ) -> Result<T, DecodeError> {
        let text = self.mandatory(field)?;
        parse(text).ok_or_else(|| unknown(field, text))
    }

    /// A mandatory id.
    pub(super) fn id<T, E: fmt::Display>(
        &self,
        field: &'static str,
        parse: fn(&str) -> Result<T, E>,
    ) -> Result<T, DecodeError> {
        parse(self.mandatory(field)?).map_err(|bad| wrong(field, bad))
    }

    /// An optional id.
    pub(super) fn optional_id<T, E: fmt::Display>(
        &self,
        field: &'static str,
        parse: fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, DecodeError> {
        self.optional(field)?.map(parse).transpose().map_err(|bad| wrong(field, bad))
    }

    /// `testFlag`: "1" is a debug or dial-test call (protocol.md §6).
    pub(super) fn test_flag(&self) -> Result<bool, DecodeError> {
        match self.0.text("testFlag").map_err(|_| DecodeError::NotText("testFlag"))? {
            None | Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(other) => Err(unknown("testFlag", other)),
        }
    }
}

/// A field that breaks a rule.
pub(super) fn wrong(field: &'static str, problem: impl fmt::Display) -> DecodeError {
    DecodeError::Field { field, problem: problem.to_string() }
}

/// A word that is in no list of ours, shown in part.
pub(super) fn unknown(field: &'static str, text: &str) -> DecodeError {
    let shown: String = text.chars().take(40).collect();
    wrong(field, format_args!("{shown:?}, a word this version does not know"))
}
