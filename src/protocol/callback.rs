//! A verified body to a command of the domain, and the reply's bytes (protocol.md 4.1 to 4.4).
//!
//! Invariant: every field that counts was a JSON string of the documented length, named once; a body
//! that leaves a doubt is refused whole. Unknown fields are ignored, because the protocol may grow.

use super::body::{Body, DecodeError, unknown, wrong};
use super::callback_auth::Verified;
use super::order_notice;
use crate::domain::license::{Code, OrderId, OrderLineId};
use crate::domain::outcome::ResultCode;
use crate::domain::slots::Zone;
use crate::domain::time::{DateText, Timestamp};
use crate::domain::transition::{Command, Refresh};
use ring::digest;
use std::fmt;

/// The longest `productId`, in Unicode scalar values (protocol.md 4.2).
const PRODUCT_ID_MAX_CHARS: usize = 64;

/// What the marketplace calls about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activity {
    /// `refreshLicenseCode`: a new expiry.
    Refresh,
    /// `updateLicenseCodeStatus`: freeze or unfreeze.
    Status,
    /// `releaseLicenseCode`: over.
    Release,
}

impl Activity {
    /// Every activity of License 2.0.
    pub const ALL: [Self; 3] = [Self::Refresh, Self::Status, Self::Release];

    /// The word on the wire, in columns and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refresh => "refreshLicenseCode",
            Self::Status => "updateLicenseCodeStatus",
            Self::Release => "releaseLicenseCode",
        }
    }

    /// The activity that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|activity| activity.as_str() == text)
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A callback as far as it concerns us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// What it is about.
    pub activity: Activity,
    /// The code it is about.
    pub code: Code,
    /// `testFlag` "1": to be answered, never to be applied (protocol.md §6).
    pub test: bool,
    /// What it asks for.
    pub command: Command,
    /// The business key that finds repeats; `None` for status calls, which carry none.
    pub key: Option<IdempotencyKey>,
    /// SHA-256 over activity, code and the decoded fields of the command: the same key with another
    /// content is a contradiction, the same content in other bytes is not.
    pub content: [u8; 32],
}

/// What makes two renewals, un-renewals or releases the same (product.md §3.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// The code.
    pub code: Code,
    /// `RENEWAL`, `UNSUBSCRIBE_RENEWAL_PERIOD` or `RELEASE`.
    pub scene: &'static str,
    /// The order; empty for a release without one.
    pub order_id: String,
    /// Its line; empty for a release.
    pub order_line_id: String,
}

/// Decodes a verified body; `zone` is the one that `expireTime` is read in.
///
/// # Errors
/// [`DecodeError`] names the first field that is not as the protocol says.
pub fn decode(verified: &Verified<'_>, zone: Zone) -> Result<Callback, DecodeError> {
    decode_stored(verified.body(), verified.signed_at(), zone)
}

/// Decodes a body that was verified when it arrived and has been kept since: an orphan's.
///
/// # Errors
/// As [`decode`].
pub fn decode_stored(
    body: &[u8],
    signed_at: Timestamp,
    zone: Zone,
) -> Result<Callback, DecodeError> {
    let fields = Body::parse(body)?;
    if fields.mandatory("activity")? == order_notice::ACTIVITY {
        return Err(DecodeError::Elsewhere {
            activity: order_notice::ACTIVITY,
            path: "orders.path",
        });
    }
    let activity = fields.word("activity", Activity::parse)?;
    let code = fields.id("license", Code::parse)?;
    let test = fields.test_flag()?;
    let (command, key) = match activity {
        Activity::Refresh => fields.refresh(&code, zone)?,
        Activity::Status => (fields.status(signed_at)?, None),
        Activity::Release => fields.release(&code)?,
    };
    let content = content(activity, &code, &command);
    Ok(Callback { activity, code, test, command, key, content })
}

/// The reply: both fields, always (protocol.md 4.1).
#[must_use]
pub fn reply(code: ResultCode) -> Vec<u8> {
    // Both texts are our own constants and need no escaping; a test parses every reply.
    format!(r#"{{"resultCode":"{}","resultMsg":"{}"}}"#, code.as_str(), code.message()).into_bytes()
}

impl Body {
    fn refresh(
        &self,
        code: &Code,
        zone: Zone,
    ) -> Result<(Command, Option<IdempotencyKey>), DecodeError> {
        let (scene, command) = self.word("scene", refresh_scene)?;
        let refresh = Refresh {
            order_id: self.id("orderId", OrderId::parse)?,
            order_line_id: self.id("orderLineId", OrderLineId::parse)?,
            expiry: zone.expiry(self.id("expireTime", DateText::parse)?),
            product_id: self.product_id()?,
        };
        let key = IdempotencyKey {
            code: code.clone(),
            scene,
            order_id: refresh.order_id.to_string(),
            order_line_id: refresh.order_line_id.to_string(),
        };
        Ok((command(refresh), Some(key)))
    }

    fn product_id(&self) -> Result<Option<String>, DecodeError> {
        let Some(text) = self.optional("productId")? else {
            return Ok(None);
        };
        if text.chars().count() > PRODUCT_ID_MAX_CHARS {
            return Err(wrong("productId", "longer than 64 characters"));
        }
        if text.chars().any(char::is_control) {
            return Err(wrong("productId", "holds a control character"));
        }
        Ok(Some(text.to_owned()))
    }

    fn status(&self, signed_at: Timestamp) -> Result<Command, DecodeError> {
        match self.mandatory("status")? {
            "FREEZE" => Ok(Command::Freeze { signed_at }),
            "UNFREEZE" => Ok(Command::Unfreeze { signed_at }),
            other => Err(unknown("status", other)),
        }
    }

    fn release(&self, code: &Code) -> Result<(Command, Option<IdempotencyKey>), DecodeError> {
        let order_id = self.optional_id("orderId", OrderId::parse)?;
        self.optional_id("orderLineId", OrderLineId::parse)?;
        let key = IdempotencyKey {
            code: code.clone(),
            scene: "RELEASE",
            order_id: order_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            order_line_id: String::new(),
        };
        Ok((Command::Release { order_id }, Some(key)))
    }
}

type Scene = (&'static str, fn(Refresh) -> Command);

fn refresh_scene(text: &str) -> Option<Scene> {
    let scenes: [Scene; 2] =
        [("RENEWAL", Command::Renewal), ("UNSUBSCRIBE_RENEWAL_PERIOD", Command::Unrenewal)];
    scenes.into_iter().find(|(name, _)| *name == text)
}

/// Hashes what a command says; each part is led by its length, so that parts cannot flow together.
fn content(activity: Activity, code: &Code, command: &Command) -> [u8; 32] {
    let mut parts = vec![activity.as_str(), code.as_str(), command.input().as_str()];
    match command {
        Command::Renewal(refresh) | Command::Unrenewal(refresh) => parts.extend([
            refresh.order_id.as_str(),
            refresh.order_line_id.as_str(),
            refresh.expiry.text.as_str(),
            refresh.product_id.as_deref().unwrap_or(""),
        ]),
        Command::Release { order_id } => {
            parts.push(order_id.as_ref().map_or("", OrderId::as_str));
        }
        Command::Freeze { .. }
        | Command::Unfreeze { .. }
        | Command::BuyerReceived
        | Command::Activation(_)
        | Command::Query(_) => {}
    }
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in parts {
        hash.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut content = [0; 32];
    content.copy_from_slice(hash.finish().as_ref());
    content
}

#[cfg(test)]
mod tests;
