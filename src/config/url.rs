//! Addresses we call. Invariant: an [`HttpUrl`] is https, or plain http to a loopback literal.

use serde::{Deserialize, Deserializer};
use std::fmt;
use std::net::IpAddr;

/// An absolute `http` or `https` address without user, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl {
    text: String,
    path_at: usize,
}

/// Why a text is no address that may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    /// Neither scheme.
    #[error("not an address; begin it with https://")]
    Scheme,
    /// A character that no address holds.
    #[error("not an address; write non-ASCII, space and control characters percent-encoded")]
    Character,
    /// No host, or a strange one.
    #[error(
        "not an address; give a host name or IP address, and a port if it is not the usual one"
    )]
    Host,
    /// A user or password in it.
    #[error("an address must not hold a user or password; remove what stands before the @")]
    User,
    /// A query or fragment in it.
    #[error("an address here has no query and no fragment; remove what follows the ? or #")]
    Query,
    /// Plain http over a network.
    #[error(
        "plain http is only allowed to a loopback literal such as http://127.0.0.1:8080 \
         (\"localhost\" is a name, not a literal); use https://"
    )]
    PlainHttp,
}

impl HttpUrl {
    /// Parses an address.
    ///
    /// # Errors
    /// [`BadUrl`] says what is wrong and what to write instead.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let (https, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(BadUrl::Scheme),
        };
        if !rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
            return Err(BadUrl::Character);
        }
        if rest.contains(['?', '#']) {
            return Err(BadUrl::Query);
        }
        let authority = rest.split('/').next().unwrap_or(rest);
        if authority.contains('@') {
            return Err(BadUrl::User);
        }
        let host = host_of(authority).ok_or(BadUrl::Host)?;
        if !https && !is_loopback_literal(host) {
            return Err(BadUrl::PlainHttp);
        }
        let path_at = text.len() - rest.len() + authority.len();
        Ok(Self { text: text.to_owned(), path_at })
    }

    /// Checks an address that may have a query, such as a chat robot's. It is a secret and is not kept.
    ///
    /// # Errors
    /// [`BadUrl`] says what is wrong and what to write instead.
    pub fn check_with_query(text: &str) -> Result<(), BadUrl> {
        let (address, query) = text.split_once('?').unwrap_or((text, ""));
        if !query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(BadUrl::Character);
        }
        Self::parse(address).map(drop)
    }

    /// The address as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Scheme, host and port, without a slash at the end.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.text[..self.path_at]
    }

    /// The host, without the brackets of an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = host_of(self.authority()).unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, written or usual.
    #[must_use]
    pub fn port(&self) -> u16 {
        let usual = if self.is_https() { 443 } else { 80 };
        let behind_host = self.authority().rsplit_once(':').map(|(_, port)| port);
        behind_host.and_then(|port| port.parse().ok()).unwrap_or(usual)
    }

    fn authority(&self) -> &str {
        self.origin().split_once("://").map_or("", |(_, authority)| authority)
    }

    /// The path; `/` when none is written.
    #[must_use]
    pub fn path(&self) -> &str {
        match &self.text[self.path_at..] {
            "" => "/",
            path => path,
        }
    }

    /// Whether the calls are encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.text.starts_with("https://")
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for HttpUrl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // The text is not repeated in the error: it may hold a password.
        Self::parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`; v6 keeps its brackets.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.find(']') {
        Some(end) => authority.split_at(end + 1),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port_is_good = match port.strip_prefix(':') {
        Some(number) => {
            number.bytes().all(|digit| digit.is_ascii_digit()) && number.parse::<u16>().is_ok()
        }
        None => port.is_empty(),
    };
    let host_is_good = match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']').is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        }
    };
    (port_is_good && host_is_good).then_some(host)
}

fn is_loopback_literal(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_literals_only() {
        for good in [
            "http://127.0.0.1:8080",
            "http://127.3.2.1/x",
            "http://[::1]:80/",
            "https://mkt.myhuaweicloud.com",
            "https://license.example.com:8443/koogallery/callback",
        ] {
            assert_eq!(HttpUrl::parse(good).map(|url| url.to_string()).as_deref(), Ok(good));
        }
        for (bad, why) in [
            ("http://localhost:8080", BadUrl::PlainHttp),
            ("http://127.0.0.1.example.com", BadUrl::PlainHttp),
            ("http://0.0.0.0:80", BadUrl::PlainHttp),
            ("http://10.0.0.1", BadUrl::PlainHttp),
            ("http://[::ffff:127.0.0.1]", BadUrl::PlainHttp),
            ("http://127.0.0.1@example.com", BadUrl::User),
            ("http://127.0.0.1\\@example.com", BadUrl::Character),
            ("http://2130706433/", BadUrl::PlainHttp),
            ("ftp://example.com", BadUrl::Scheme),
            ("HTTPS://example.com", BadUrl::Scheme),
            ("example.com", BadUrl::Scheme),
            ("https://", BadUrl::Host),
            ("https://:443", BadUrl::Host),
            ("https://a:b:c", BadUrl::Host),
            ("https://a:70000", BadUrl::Host),
            ("https://[::1", BadUrl::Host),
            ("https://exa mple.com", BadUrl::Character),
            ("https://云.example", BadUrl::Character),
            ("https://example.com/?key=1", BadUrl::Query),
        ] {
            assert_eq!(HttpUrl::parse(bad), Err(why), "{bad}");
        }
    }

    #[test]
    fn an_address_with_a_query_is_as_strict_otherwise() {
        for (text, expected) in [
            ("https://robot.example/send?key=1&x=%20", Ok(())),
            ("https://robot.example/send", Ok(())),
            ("http://127.0.0.1:9/send?key=1", Ok(())),
            ("http://robot.example/send?key=1", Err(BadUrl::PlainHttp)),
            ("https://robot.example/send?key=1#x", Err(BadUrl::Character)),
            ("https://robot.example@evil.example/?a", Err(BadUrl::User)),
        ] {
            assert_eq!(HttpUrl::check_with_query(text), expected, "{text}");
        }
    }

    #[test]
    fn an_address_falls_apart_into_origin_and_path() {
        let url = HttpUrl::parse("https://a.example:8443/x/y").expect("an address");
        assert_eq!((url.origin(), url.path()), ("https://a.example:8443", "/x/y"));
        assert_eq!((url.host(), url.port()), ("a.example", 8443));
        let v6 = HttpUrl::parse("http://[::1]/").expect("an address");
        assert_eq!((v6.host(), v6.port()), ("::1", 80));
        let url = HttpUrl::parse("https://a.example").expect("an address");
        assert_eq!((url.origin(), url.path()), ("https://a.example", "/"));
    }
}
