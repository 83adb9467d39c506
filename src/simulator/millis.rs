//! How instants stand in the data file: as milliseconds since the epoch. For `#[serde(with = …)]`.
//!
//! Invariant: what is written is read back as the same instant.

use crate::domain::time::Timestamp;
use serde::{Deserialize as _, Deserializer, Serializer};

/// Writes an instant.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
pub(super) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_i64(at.as_ms())
}

/// Reads an instant.
pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Timestamp, D::Error> {
    i64::deserialize(from).map(Timestamp::from_ms)
}

/// The same for an instant that may be missing.
pub(super) mod option {
    use super::{Deserializer, Serializer, Timestamp};
    use serde::Deserialize as _;

    /// Writes an instant or null.
    #[expect(clippy::ref_option, reason = "serde hands over a reference")]
    pub(in crate::simulator) fn serialize<S: Serializer>(
        at: &Option<Timestamp>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => to.serialize_some(&at.as_ms()),
            None => to.serialize_none(),
        }
    }

    /// Reads an instant or null.
    pub(in crate::simulator) fn deserialize<'a, D: Deserializer<'a>>(
        from: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<i64>::deserialize(from)?.map(Timestamp::from_ms))
    }
}
