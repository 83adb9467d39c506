//! The first two stages: the name of the public address, and a connection to it.
//!
//! Every address is tried, IPv4 and IPv6, as the client of the cases does: the first that answers is used,
//! those that do not are told, because the marketplace may choose one of them.

use super::STAGE_LIMIT;
use super::step::Diagnosis;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How much longer the other addresses are waited for once one has answered.
const OTHERS: Duration = Duration::from_secs(1);

/// Where the public URL leads.
#[derive(Debug)]
pub(super) struct Target {
    /// Its host: a name, or an address without brackets.
    pub(super) host: String,
    pub(super) https: bool,
    port: u16,
}

impl Target {
    pub(super) fn of(url: &str) -> Option<Self> {
        let url = reqwest::Url::parse(url).ok()?;
        let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
        Some(Self { host, https: url.scheme() == "https", port: url.port_or_known_default()? })
    }

    /// The addresses of the host.
    pub(super) async fn resolve(&self) -> Result<(Vec<SocketAddr>, String), Diagnosis> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            let detail = format!("{address} is an address: there is no name to resolve");
            return Ok((vec![SocketAddr::new(address, self.port)], detail));
        }
        let asked = tokio::net::lookup_host((self.host.as_str(), self.port));
        let why = match timeout(STAGE_LIMIT, asked).await {
            Err(_) => "no answer within 10 s".to_owned(),
            Ok(Err(error)) => without_preface(&error),
            Ok(Ok(addresses)) => {
                let addresses: Vec<_> = addresses.collect();
                let texts: Vec<_> = addresses.iter().map(|at| at.ip().to_string()).collect();
                if !addresses.is_empty() {
                    return Ok((addresses, format!("{} is {}", self.host, texts.join(", "))));
                }
                "the name has no address".to_owned()
            }
        };
        Err(Diagnosis::new(
            format!("DNS: no answer for {} ({why})", self.host),
            "restore the DNS record of the public address; look at the resolver of this machine",
        ))
    }

    /// Connects to each address; how long the first one took.
    pub(super) async fn connect(
        &self,
        addresses: &[SocketAddr],
    ) -> (Duration, Result<(TcpStream, String), Diagnosis>) {
        let began = Instant::now();
        let mut tries = JoinSet::new();
        for &address in addresses {
            tries.spawn(async move { (address, TcpStream::connect(address).await) });
        }
        let mut open = None;
        let mut silent: Vec<_> = addresses.to_vec();
        let mut refused = Vec::new();
        let mut until = began + STAGE_LIMIT;
        while let Ok(Some(tried)) = tokio::time::timeout_at(until.into(), tries.join_next()).await {
            let Ok((address, result)) = tried else { continue };
            silent.retain(|other| *other != address);
            match result {
                Ok(stream) if open.is_none() => {
                    open = Some((stream, address, began.elapsed()));
                    until = until.min(Instant::now() + OTHERS);
                }
                Ok(_) => {}
                Err(error) => refused.push(format!("{address}: {}", error.kind())),
            }
        }
        refused.extend(silent.iter().map(|address| format!("{address}: no answer")));
        let refused = refused.join(", ");
        match open {
            Some((stream, address, took)) if refused.is_empty() => {
                (took, Ok((stream, format!("connected to {address}"))))
            }
            Some((stream, address, took)) => {
                (took, Ok((stream, format!("connected to {address}, but not to {refused}"))))
            }
            None => {
                let text = format!("TCP: no connection to {} ({refused})", self.host);
                let remedy = "is the proxy running? is the port open in firewall and security group (安全组)?";
                (began.elapsed(), Err(Diagnosis::new(text, remedy)))
            }
        }
    }
}

/// What the resolver said, without what every such error begins with.
fn without_preface(error: &io::Error) -> String {
    let text = error.to_string();
    text.rsplit(": ").next().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpSocket};

    #[test]
    fn a_url_is_taken_apart() {
        for (url, host, https, port) in [
            ("https://license.example.com/x", "license.example.com", true, 443),
            ("https://license.example.com:8443/x", "license.example.com", true, 8443),
            ("http://127.0.0.1:8650/x", "127.0.0.1", false, 8650),
            ("http://[::1]:8650/x", "::1", false, 8650),
        ] {
            let target = Target::of(url).expect("a URL");
            assert_eq!((&*target.host, target.https, target.port), (host, https, port));
        }
        assert!(Target::of("license.example.com").is_none());
    }

    #[tokio::test]
    async fn one_address_that_answers_is_enough_and_the_others_are_named() {
        let open = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let closed = TcpSocket::new_v4().expect("a socket");
        closed.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let addresses = [closed.local_addr(), open.local_addr()].map(|at| at.expect("an address"));
        let target = Target::of("https://license.example.com/").expect("a URL");
        let (_, connected) = target.connect(&addresses).await;
        let (_, detail) = connected.expect("connected");
        let expected = format!(
            "connected to {}, but not to {}: connection refused",
            addresses[1], addresses[0]
        );
        assert_eq!(detail, expected);
        let (_, refused) = target.connect(&addresses[..1]).await;
        let why = refused.expect_err("nobody listens").text;
        assert!(why.starts_with("TCP: no connection to license.example.com (127.0.0.1:"), "{why}");
    }
}
