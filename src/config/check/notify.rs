//! What can be wrong with the channels of alarms.

use super::{Config, Findings, Severity};
use crate::config::notify::{ChannelKind, MailTls, Notify};
use crate::config::{HttpUrl, SecretFile};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use std::net::IpAddr;

/// Bytes of a webhook's secret, as the Standard Webhooks specification wants them.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

impl Config {
    pub(super) fn check_alarms(&self, found: &mut Findings<'_>) {
        let alarms = &self.alarms;
        for (key, hours) in [
            ("alarms.emergency-hours", alarms.emergency_hours),
            ("alarms.high-hours", alarms.high_hours),
            ("alarms.warning-hours", alarms.warning_hours),
        ] {
            if hours == 0 {
                found.error(key, "is 0", "give the hours between two messages of the same alarm");
            }
        }
        for (nth, channel) in self.notify.iter().enumerate() {
            let mut channel_findings = Channel { found, nth, told: channel };
            channel_findings.check();
            if self.notify[..nth].iter().any(|earlier| earlier.name == channel.name) {
                let text = format!("{} is the name of two channels", channel.name);
                channel_findings.error("name", &text, "give each channel a name of its own");
            }
        }
    }
}

/// One channel under the eye.
struct Channel<'a, 'b> {
    found: &'a mut Findings<'b>,
    nth: usize,
    told: &'a Notify,
}

impl Channel<'_, '_> {
    fn check(&mut self) {
        let name = &self.told.name;
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            self.error("name", "is no name", "use 1 to 64 letters, digits, - and _");
        }
        self.check_keys();
        match self.told.kind {
            ChannelKind::Smtp => self.check_mail(),
            ChannelKind::Webhook => {
                self.check_url();
                if let Some(secret) = self.secret("secret-file", self.told.secret_file.as_ref())
                    && !is_webhook_secret(&secret)
                {
                    self.error(
                        "secret-file",
                        "holds no secret of a webhook",
                        "write whsec_ and the base64 of 24 to 64 random bytes: echo whsec_$(openssl rand -base64 32)",
                    );
                }
            }
            ChannelKind::Wecom | ChannelKind::Dingtalk | ChannelKind::Feishu => {
                self.check_url();
                self.secret("secret-file", self.told.secret_file.as_ref());
            }
        }
    }

    /// Each kind has the keys it needs, and none that would be ignored.
    fn check_keys(&mut self) {
        let it = self.told;
        let kind = it.kind;
        let posted = kind != ChannelKind::Smtp;
        let signed = posted && kind != ChannelKind::Wecom;
        for (key, given, wanted, needed) in [
            ("url-file", it.url_file.is_some(), posted, posted),
            ("secret-file", it.secret_file.is_some(), signed, kind == ChannelKind::Webhook),
            ("server", it.server.is_some(), !posted, !posted),
            ("port", it.port.is_some(), !posted, false),
            ("tls", it.tls.is_some(), !posted, false),
            ("user", it.user.is_some(), !posted, it.password_file.is_some()),
            ("password-file", it.password_file.is_some(), !posted, it.user.is_some()),
            ("from", it.from.is_some(), !posted, !posted),
            ("to", !it.to.is_empty(), !posted, !posted),
        ] {
            let kind = kind.as_str();
            if given && !wanted {
                self.error(key, &format!("is not for kind {kind}"), "remove it");
            } else if needed && wanted && !given {
                self.error(key, &format!("is missing, and kind {kind} needs it"), "add it");
            }
        }
    }

    fn check_url(&mut self) {
        if let Some(url) = self.secret("url-file", self.told.url_file.as_ref())
            && let Err(why) = HttpUrl::check_with_query(url.expose_secret())
        {
            self.error("url-file", "holds no usable address", &why.to_string());
        }
    }

    fn check_mail(&mut self) {
        let it = self.told;
        self.secret("password-file", it.password_file.as_ref());
        let server = it.server.as_deref().unwrap_or_default();
        let loopback = server.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if it.tls == Some(MailTls::None) && !loopback {
            self.error(
                "tls",
                "is none, but the server is no loopback literal",
                "write \"implicit\" or \"starttls\"",
            );
        }
        for (key, address) in
            it.from.iter().map(|from| ("from", from)).chain(it.to.iter().map(|to| ("to", to)))
        {
            let (user, domain) = address.split_once('@').unwrap_or_default();
            let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '@' && c != '<';
            if user.is_empty()
                || domain.is_empty()
                || !(user.chars().chain(domain.chars())).all(plain)
            {
                let text = format!("{address:?} is no mail address");
                self.error(key, &text, "write it as user@example.com");
            }
        }
    }

    fn secret(&mut self, key: &str, file: Option<&SecretFile>) -> Option<SecretString> {
        self.found.secret(&format!("notify.{key}"), Some(self.nth), file?)
    }

    fn error(&mut self, key: &str, text: &str, remedy: &str) {
        let key = format!("notify.{key}");
        self.found.push(&key, Some(self.nth), Severity::Error, text, remedy);
    }
}

fn is_webhook_secret(secret: &SecretString) -> bool {
    let text = secret.expose_secret().strip_prefix("whsec_");
    let bytes = text.and_then(|text| BASE64_STANDARD.decode(text).ok());
    bytes.is_some_and(|bytes| SECRET_BYTES.contains(&bytes.len()))
}
