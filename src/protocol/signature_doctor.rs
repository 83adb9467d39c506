//! Why was this callback refused? A search, after the refusal, for what would have made its signature
//! right (protocol.md §5, §9): another key, another body, other parameters, a sister product's scheme.
//!
//! Invariants: nothing here can accept a call, because no [`super::callback_auth::Verified`] is made here;
//! a search does all of its work whether or not it finds something, and compares in constant time.

mod bodies;
mod cause;
mod keys;
mod parameters;
mod schemes;

pub use cause::{Cause, Fault};
pub use keys::KeyRing;
pub use parameters::SIGNATURE_HEADERS;

use super::callback_auth::WINDOW_MS;
use crate::domain::time::{HOUR_MS, MINUTE_MS, SECOND_MS, Timestamp};
use bodies::variants;
use keys::Candidate;
use parameters::{Found, Sent, locate};
use ring::hmac;
use schemes::{Scheme, auth_token_holds};
use std::fmt;

/// Faults that are looked for together: one on the signer's side and one on the way.
const FAULTS_TOGETHER: usize = 2;
/// A larger body is tried only as it came; the largest that the documents allow for has 2 KiB.
const BODY_MAX: usize = 4 << 10;

/// A refused call, as it came.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The query of its URL.
    pub query: Option<&'a str>,
    /// Those of its headers that [`SIGNATURE_HEADERS`] names.
    pub headers: &'a [(&'static str, String)],
    /// Its bytes.
    pub body: &'a [u8],
    /// Our clock.
    pub received_at: Timestamp,
    /// Our clock minus the marketplace's in milliseconds, where its answers have shown it.
    pub ahead_ms: Option<i64>,
}

/// What is wrong with a refused call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    faults: Vec<Fault>,
    proven: bool,
}

/// Knows the keys that may have signed.
pub struct Doctor {
    keys: Vec<Candidate>,
}

impl Doctor {
    /// A doctor for the calls of one type of interface.
    #[must_use]
    pub fn new(ring: &KeyRing<'_>) -> Self {
        Self { keys: keys::candidates(ring) }
    }

    /// Finds why a call was refused.
    #[must_use]
    pub fn examine(&self, case: &Case<'_>) -> Diagnosis {
        match locate(case.query, case.headers) {
            Found::Nowhere(fault) => Diagnosis::unproven(fault),
            Found::AuthToken(token) => {
                let holds = self.keys.iter().filter(|key| auth_token_holds(key, &token)).count();
                let fault = Fault::new(Cause::AuthToken, "it carries an authToken");
                Diagnosis { faults: vec![fault], proven: holds > 0 }
            }
            Found::Sent(sent) => self.examine_sent(case, &sent),
        }
    }

    fn examine_sent(&self, case: &Case<'_>, sent: &Sent) -> Diagnosis {
        let clock = sent.signed_at().and_then(|at| clock_fault(case, at));
        let Some((signature, form)) = sent.signature_bytes() else {
            let what = "the signature is neither 64 hex digits nor 32 bytes in base64";
            return Diagnosis::unproven(Fault::new(Cause::SignatureForm, what));
        };
        let found = self.search(case.body, sent, &signature);
        let proven = found.is_some();
        let unexplained = match found {
            Some(_) => None,
            None if case.body.is_empty() => {
                Some(Fault::new(Cause::BodyMissing, "the body arrived empty"))
            }
            None => Some(Fault::new(Cause::Unknown, "the signature fits nothing we know")),
        };
        // The first is the one to put right first: who signs before what became of it on the way.
        let mut faults: Vec<Fault> = form.into_iter().chain(found.unwrap_or_default()).collect();
        faults.extend(sent.place.iter().cloned().chain(unexplained).chain(clock));
        if faults.is_empty() {
            // Right now, and refused a moment ago: the window closed or opened in between.
            faults.push(Fault::new(Cause::Clock, "its timestamp was at the edge of the window"));
        }
        Diagnosis { faults, proven }
    }

    /// The fewest faults that explain this signature; goes through all of them, found or not.
    fn search(&self, body: &[u8], sent: &Sent, signature: &[u8; 32]) -> Option<Vec<Fault>> {
        let mut best: Option<Vec<Fault>> = None;
        let small = body.len() <= BODY_MAX;
        let bodies = if small { variants(body) } else { bodies::as_it_came(body) };
        let (nonces, times) = (sent.nonces(), sent.timestamps());
        for key in &self.keys {
            for body in &bodies {
                if count(&[&key.fault, &body.fault]) > FAULTS_TOGETHER {
                    continue;
                }
                let digest = hmac::sign(&key.hmac, &body.bytes);
                for scheme in Scheme::ALL {
                    let scheme_fault = scheme.fault();
                    for (nonce, time) in
                        nonces.iter().flat_map(|n| times.iter().map(move |t| (n, t)))
                    {
                        let faults =
                            [&key.fault, &scheme_fault, &time.fault, &body.fault, &nonce.fault];
                        if count(&faults) > FAULTS_TOGETHER {
                            continue;
                        }
                        let parts = schemes::Parts {
                            nonce: &nonce.text,
                            timestamp: &time.text,
                            body: &body.bytes,
                            digest: digest.as_ref(),
                        };
                        let fewer = best.as_ref().is_none_or(|best| count(&faults) < best.len());
                        if scheme.holds(key, &parts, signature) && fewer {
                            best = Some(faults.into_iter().flatten().cloned().collect());
                        }
                    }
                }
            }
        }
        let orders = if small { bodies::every_order(body) } else { Vec::new() };
        let reordered = self.any_order(&orders, sent, signature);
        best.or(reordered)
    }

    /// Whether the body's fields, in whatever order, explain it.
    fn any_order(
        &self,
        orders: &[Vec<u8>],
        sent: &Sent,
        signature: &[u8; 32],
    ) -> Option<Vec<Fault>> {
        let mut found = false;
        for key in self.keys.iter().filter(|key| key.fault.is_none()) {
            for body in orders {
                let digest = hmac::sign(&key.hmac, body);
                let (nonce, timestamp) = (&sent.nonce, &sent.timestamp);
                let parts = schemes::Parts { nonce, timestamp, body, digest: digest.as_ref() };
                found |= Scheme::License2.holds(key, &parts, signature);
            }
        }
        found.then(|| vec![Fault::new(Cause::BodyReordered, "its fields stand in another order")])
    }
}

/// Never a key.
impl fmt::Debug for Doctor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Doctor({} keys, redacted)", self.keys.len())
    }
}

fn count(faults: &[&Option<Fault>]) -> usize {
    faults.iter().filter(|fault| fault.is_some()).count()
}

/// That the timestamp is outside the window, by how much, and whose clock is to blame.
fn clock_fault(case: &Case<'_>, signed_at: Timestamp) -> Option<Fault> {
    let skew_ms = case.received_at.ms_since(signed_at);
    if skew_ms.saturating_abs() <= WINDOW_MS {
        return None;
    }
    let seconds = skew_ms.saturating_abs() / SECOND_MS;
    let side = if skew_ms > 0 { "behind" } else { "ahead of" };
    let whose = match case.ahead_ms {
        // As far off as this call says: the marketplace agrees with the signer.
        Some(ahead_ms) if (ahead_ms - skew_ms).abs() <= WINDOW_MS / 2 => {
            "ours is wrong: the marketplace's answers show the same"
        }
        Some(ahead_ms) if ahead_ms.abs() <= WINDOW_MS / 2 => {
            "ours agrees with the marketplace's answers, so the signer's clock is wrong or an old call was sent again"
        }
        Some(_) | None => "whose is not known yet: look at ours first",
    };
    let zone = if is_zone_offset(skew_ms) {
        ", which is a time zone: local time is taken for UTC"
    } else {
        ""
    };
    let what = format!("its clock is {seconds} s {side} ours{zone}; {whose}");
    Some(Fault { cause: Cause::Clock, what: what.into() })
}

/// Whole or half hours up to 14, with a minute to spare.
const fn is_zone_offset(skew_ms: i64) -> bool {
    let ms = skew_ms.saturating_abs();
    let beside = ms % (HOUR_MS / 2);
    ms >= HOUR_MS - MINUTE_MS
        && ms <= 14 * HOUR_MS + MINUTE_MS
        && (beside <= MINUTE_MS || beside >= HOUR_MS / 2 - MINUTE_MS)
}

impl Diagnosis {
    fn unproven(fault: Fault) -> Self {
        Self { faults: vec![fault], proven: false }
    }

    /// The cause to put right first.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.faults.first().map_or(Cause::Unknown, |fault| fault.cause)
    }

    /// All that was found, the first to put right first.
    pub fn causes(&self) -> impl Iterator<Item = Cause> {
        self.faults.iter().map(|fault| fault.cause)
    }

    /// Whether a key of ours made the signature once all that was found is taken into account; if not,
    /// anybody may have sent the call.
    #[must_use]
    pub const fn proven(&self) -> bool {
        self.proven
    }
}

/// What was found, in one sentence without a full stop.
impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, fault) in self.faults.iter().enumerate() {
            write!(f, "{}{}", if nth == 0 { "" } else { "; and " }, fault.what)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
