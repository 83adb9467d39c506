//! Who may ask: bearer tokens, and the loopback names that a browser cannot be talked out of.

use super::problem::Problem;
use arc_swap::ArcSwap;
use hyper::Request;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap};
use secrecy::{ExposeSecret as _, SecretString};
use std::sync::Arc;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq as _;

/// A token, compared in constant time.
/// A clone is the same token: what replaces one replaces all. Whoever asks takes no lock, because it would be
/// taken for every request.
#[derive(Clone)]
pub struct Token(Arc<ArcSwap<Expected>>);

/// How long the token before is still taken: whoever reads the file has the time to read it again.
const HANDOVER: Duration = Duration::from_mins(1);

struct Expected {
    now: Known,
    /// How often it was replaced.
    replaced: u64,
    /// The token before, until then.
    before: Option<(Known, Instant)>,
}

struct Known(SecretString);

impl Token {
    /// Takes the token as its file holds it.
    #[must_use]
    pub fn new(token: &SecretString) -> Self {
        let expected = Expected { now: Known(token.clone()), replaced: 0, before: None };
        Self(Arc::new(ArcSwap::from_pointee(expected)))
    }

    /// Another token from now on; the one before is taken for a minute more.
    pub fn replace(&self, token: &SecretString) {
        let Expected { now, replaced, .. } = &**self.0.load();
        if !now.is(token.expose_secret().as_bytes()) {
            let before = Some((Known(now.0.clone()), Instant::now() + HANDOVER));
            let expected = Expected { now: Known(token.clone()), replaced: replaced + 1, before };
            self.0.store(Arc::new(expected));
        }
    }

    /// Whether `guess` is the token; one that was replaced is not, not even in its last minute.
    pub(super) fn is(&self, guess: &[u8]) -> bool {
        self.0.load().now.is(guess)
    }

    /// How often it was replaced since the start.
    pub(super) fn replaced(&self) -> u64 {
        self.0.load().replaced
    }

    /// Checks `Authorization: Bearer …`, given exactly once.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Problem::unauthorized());
        };
        let bytes = value.as_bytes();
        let (scheme, token) = bytes.split_at(bytes.len().min(7));
        if scheme.eq_ignore_ascii_case(b"bearer ") && self.0.load().takes(token.trim_ascii()) {
            Ok(())
        } else {
            Err(Problem::unauthorized())
        }
    }
}

impl Expected {
    fn takes(&self, token: &[u8]) -> bool {
        let before = self.before.as_ref().filter(|(_, until)| Instant::now() < *until);
        self.now.is(token) || before.is_some_and(|(before, _)| before.is(token))
    }
}

impl Known {
    /// Takes as long for a right guess as for any other of its length.
    fn is(&self, guess: &[u8]) -> bool {
        let token = self.0.expose_secret().as_bytes();
        let pairs = guess.iter().zip(token.iter().cycle());
        let unlike = pairs.fold(0, |unlike, (a, b)| unlike | (a ^ b));
        (unlike.ct_eq(&0) & guess.len().ct_eq(&token.len())).into()
    }
}

/// Checks that `Host` is a loopback name, whatever the port: a rebound name of a page is not.
pub(super) fn check_host<B>(request: &Request<B>) -> Result<(), Problem> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(Problem::wrong_host());
    };
    let host = host.to_str().unwrap_or("");
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let loopback = name.eq_ignore_ascii_case("localhost")
        || name == "[::1]"
        || name.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    if loopback { Ok(()) } else { Err(Problem::wrong_host()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(values: &[&str]) -> bool {
        let mut request = Request::builder();
        for value in values {
            request = request.header(HOST, *value);
        }
        check_host(&request.body(()).expect("a request")).is_ok()
    }

    #[test]
    fn only_loopback_names_pass() {
        for good in [
            "127.0.0.1",
            "127.0.0.1:8651",
            "127.9.9.9:1",
            "localhost",
            "LOCALHOST:80",
            "[::1]",
            "[::1]:8651",
        ] {
            assert!(host(&[good]), "{good}");
        }
        for bad in [
            "example.com",
            "127.0.0.1.example.com",
            "localhost.example.com:80",
            "10.0.0.1",
            "",
            "[::2]",
            "127.0.0.1:x",
        ] {
            assert!(!host(&[bad]), "{bad}");
        }
        assert!(!host(&[]));
        assert!(!host(&["localhost", "example.com"]));
    }

    #[test]
    fn the_token_is_given_once_and_whole() {
        let token = Token::new(&SecretString::from("s3cret-token"));
        let check = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, value.parse().expect("a header"));
            }
            token.check(&headers).is_ok()
        };
        assert!(check(&["Bearer s3cret-token"]));
        assert!(check(&["bearer s3cret-token"]));
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer s3cret",
            "Bearer s3cret-tokens",
            "Basic s3cret-token",
            "s3cret-token",
        ] {
            assert!(!check(&[bad]), "{bad}");
        }
        assert!(!check(&[]));
        assert!(!check(&["Bearer s3cret-token", "Bearer s3cret-token"]));
    }
}
