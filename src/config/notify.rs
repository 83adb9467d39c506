//! Who is told of alarms, and how often: the sections `[alarms]` and `[[notify]]`.
//!
//! Invariant: a section of `[[notify]]` has one form whatever its kind is, so that an unknown key is found
//! where it stands; which keys its kind needs is checked by [`super::Config::check`].

use super::secrets::{ChannelSecrets, SecretError, SecretFile};
use super::{defaults, from_text};
use crate::domain::alarm::{Restraint, Severity};
use crate::domain::language::Language;
use crate::domain::time::{HOUR_MS, MINUTE_MS};
use serde::{Deserialize, Deserializer};

/// How often somebody is told of the same alarm, and by which name we go.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Alarms {
    /// How messages name this installation; the host of `callback.public-url` unless given.
    #[serde(default)]
    pub name: Option<String>,
    /// Hours between two messages of the same emergency.
    #[serde(default = "defaults::hourly")]
    pub emergency_hours: u32,
    /// The same of what is high.
    #[serde(default = "defaults::six_hours")]
    pub high_hours: u32,
    /// The same of a warning.
    #[serde(default = "defaults::a_day_of_hours")]
    pub warning_hours: u32,
    /// Minutes for which a cause must stay away before it is told that it is over.
    #[serde(default = "defaults::settle_minutes")]
    pub settle_minutes: u32,
}

impl Default for Alarms {
    fn default() -> Self {
        Self {
            name: None,
            emergency_hours: defaults::hourly(),
            high_hours: defaults::six_hours(),
            warning_hours: defaults::a_day_of_hours(),
            settle_minutes: defaults::settle_minutes(),
        }
    }
}

impl Alarms {
    /// The same as [`crate::domain::alarm::rule`] takes it.
    #[must_use]
    pub fn restraint(&self) -> Restraint {
        let hours = |n: u32| i64::from(n) * HOUR_MS;
        Restraint {
            emergency_ms: hours(self.emergency_hours),
            high_ms: hours(self.high_hours),
            warning_ms: hours(self.warning_hours),
            settle_ms: i64::from(self.settle_minutes) * MINUTE_MS,
        }
    }
}

/// A channel over which somebody is told.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Notify {
    /// Its name: in logs, metrics and `authcoded alarm test`.
    pub name: String,
    /// What it is.
    pub kind: ChannelKind,
    /// The least severity that is told.
    #[serde(default = "defaults::every_severity", deserialize_with = "severity")]
    pub min_severity: Severity,
    /// The language of its messages.
    #[serde(default = "defaults::chinese", deserialize_with = "language")]
    pub language: Language,
    /// Whether codes are named in full; only a webhook does so unless told.
    #[serde(default)]
    pub show_codes: Option<bool>,
    /// The address of a webhook or robot.
    #[serde(default)]
    pub url_file: Option<SecretFile>,
    /// What it is signed with.
    #[serde(default)]
    pub secret_file: Option<SecretFile>,
    /// The mail server.
    #[serde(default)]
    pub server: Option<String>,
    /// Its port, if not the usual one.
    #[serde(default)]
    pub port: Option<u16>,
    /// How the connection to it is protected.
    #[serde(default)]
    pub tls: Option<MailTls>,
    /// Who logs in there.
    #[serde(default)]
    pub user: Option<String>,
    /// With this password.
    #[serde(default)]
    pub password_file: Option<SecretFile>,
    /// The sender.
    #[serde(default)]
    pub from: Option<String>,
    /// The recipients.
    #[serde(default)]
    pub to: Vec<String>,
}

/// What a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    /// A signed webhook (Standard Webhooks).
    Webhook,
    /// Mail.
    Smtp,
    /// A group robot of WeCom (企业微信).
    Wecom,
    /// A group robot of DingTalk (钉钉).
    Dingtalk,
    /// A group robot of Feishu (飞书).
    Feishu,
}

impl ChannelKind {
    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Smtp => "smtp",
            Self::Wecom => "wecom",
            Self::Dingtalk => "dingtalk",
            Self::Feishu => "feishu",
        }
    }
}

/// How a connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    /// TLS from the first byte.
    #[default]
    Implicit,
    /// STARTTLS, required.
    Starttls,
    /// None: for a loopback literal only.
    None,
}

impl Notify {
    /// Whether its messages name codes in full. People in a chat or behind a mailbox are not always those
    /// who may use them; a webhook is signed and read by a program.
    #[must_use]
    pub fn shows_codes(&self) -> bool {
        self.show_codes.unwrap_or(self.kind == ChannelKind::Webhook)
    }

    pub(super) fn files(&mut self) -> impl Iterator<Item = &mut SecretFile> {
        [&mut self.url_file, &mut self.secret_file, &mut self.password_file].into_iter().flatten()
    }

    pub(super) fn secrets(&self) -> Result<ChannelSecrets, SecretError> {
        let read = |key: &str, file: &Option<SecretFile>| {
            file.as_ref().map(|file| file.read_line(key)).transpose()
        };
        Ok(ChannelSecrets {
            url: read("notify.url-file", &self.url_file)?,
            secret: read("notify.secret-file", &self.secret_file)?,
            password: read("notify.password-file", &self.password_file)?,
        })
    }
}

fn severity<'de, D: Deserializer<'de>>(from: D) -> Result<Severity, D::Error> {
    word(from, Severity::parse, &Severity::ALL.map(Severity::as_str))
}

fn language<'de, D: Deserializer<'de>>(from: D) -> Result<Language, D::Error> {
    word(from, Language::parse, &Language::ALL.map(Language::as_str))
}

/// One of a few words of the domain.
fn word<'de, D: Deserializer<'de>, T>(
    from: D,
    parse: impl Fn(&str) -> Option<T>,
    known: &[&str],
) -> Result<T, D::Error> {
    let text: String = from_text(from)?;
    parse(&text).ok_or_else(|| {
        serde::de::Error::custom(format_args!("\"{text}\": not one of {}", known.join(", ")))
    })
}
