//! Where the marketplace is: its domains, as the configuration names them.
//!
//! Invariant: an [`Endpoint`] is `https`, or plain `http` to a loopback literal that no name can redirect.

use crate::protocol::aksk::canonical_query;
use reqwest::Url;
use std::fmt;
use std::net::IpAddr;

/// The scheme, host and port of one domain of the marketplace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
    host: String,
}

/// Why a text is no endpoint. The configuration's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadEndpoint {
    /// Not a URL with a host.
    #[error("not a URL: write https://host or https://host:port")]
    NotUrl,
    /// Another scheme, or plain http to something that is not a loopback literal.
    #[error("not https: plain http is taken for loopback literals only (127.0.0.1, [::1])")]
    NotHttps,
    /// A path, query, fragment, user or password.
    #[error("more than scheme, host and port: remove path, query, user and password")]
    TooMuch,
}

impl Endpoint {
    /// Parses `https://host[:port]`; `http` only for loopback literals.
    ///
    /// # Errors
    /// [`BadEndpoint`] says what to write instead; it does not repeat the text, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, BadEndpoint> {
        let url = Url::parse(text.trim()).map_err(|_| BadEndpoint::NotUrl)?;
        let name = url.host_str().filter(|name| !name.is_empty()).ok_or(BadEndpoint::NotUrl)?;
        let literal = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match url.scheme() {
            "https" => {}
            "http" if literal.is_ok_and(|ip| ip.is_loopback()) => {}
            _ => return Err(BadEndpoint::NotHttps),
        }
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return Err(BadEndpoint::TooMuch);
        }
        // `port()` is absent when it is the scheme's own, as the `Host` header wants it (protocol.md 2.1).
        let host = url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        Ok(Self { url, host })
    }

    /// The value of the `Host` header: the port only if it is not the scheme's own.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether calls to it are encrypted; only loopback ones may not be.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The URL of an interface; `path` begins with a slash and needs no encoding, `query` is encoded.
    pub(super) fn at(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.url.clone();
        url.set_path(path);
        if !query.is_empty() {
            url.set_query(Some(&canonical_query(query)));
        }
        url
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_or_plain_http_to_loopback_literals() {
        for (text, host) in [
            ("https://mkt.myhuaweicloud.com", "mkt.myhuaweicloud.com"),
            ("https://MKT.myhuaweicloud.com:443/", "mkt.myhuaweicloud.com"),
            ("https://mkt.myhuaweicloud.cn:8443", "mkt.myhuaweicloud.cn:8443"),
            ("http://127.0.0.1:9000", "127.0.0.1:9000"),
            ("http://[::1]:9000", "[::1]:9000"),
            ("http://127.1.2.3", "127.1.2.3"),
        ] {
            assert_eq!(Endpoint::parse(text).expect(text).host(), host);
        }
        for (text, why) in [
            ("", BadEndpoint::NotUrl),
            ("mkt.myhuaweicloud.com", BadEndpoint::NotUrl),
            ("http://mkt.myhuaweicloud.com", BadEndpoint::NotHttps),
            ("http://localhost:9000", BadEndpoint::NotHttps),
            ("http://10.0.0.1", BadEndpoint::NotHttps),
            ("http://127.0.0.1.example.com", BadEndpoint::NotHttps),
            ("ftp://127.0.0.1", BadEndpoint::NotHttps),
            ("https://mkt.myhuaweicloud.com/api", BadEndpoint::TooMuch),
            ("https://mkt.myhuaweicloud.com/?a=b", BadEndpoint::TooMuch),
            ("https://user:pass@mkt.myhuaweicloud.com", BadEndpoint::TooMuch),
        ] {
            assert_eq!(Endpoint::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn urls_are_built_from_the_base() {
        let endpoint = Endpoint::parse("http://127.0.0.1:9000").expect("an endpoint");
        assert_eq!(endpoint.at("/a/b", &[]).as_str(), "http://127.0.0.1:9000/a/b");
        let url = endpoint.at("/a", &[("orderId", "CS&1 码")]);
        assert_eq!(url.as_str(), "http://127.0.0.1:9000/a?orderId=CS%261%20%E7%A0%81");
    }
}
