//! Certificates that come to their end: ours, as it is served and as it lies here, and the marketplace's.

use super::alarm as of_kind;
use crate::domain::time::{DAY_MS, SECOND_MS, Timestamp};
use crate::guard::alarms::{Alarm, Severity};
use crate::store::ProbeRow;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::path::Path;

/// Days before the end at which it is told, each once: the alarm of each has an id of its own.
const STEPS: [i64; 5] = [1, 3, 7, 14, 30];
/// From so many days on it is for today.
const HIGH_DAYS: i64 = 7;

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    /// `public`, `file`, or a domain of the marketplace.
    pub(super) name: String,
    ours: bool,
    ends: Timestamp,
}

/// The one in callback.tls-cert.
pub(super) fn of_file(file: Option<&Path>) -> Option<Certificate> {
    let leaf = CertificateDer::pem_file_iter(file?).ok()?.next()?.ok()?;
    let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).ok()?;
    let ends = leaf.validity().not_after.timestamp().saturating_mul(SECOND_MS);
    Some(Certificate { name: "file".to_owned(), ours: true, ends: Timestamp::from_ms(ends) })
}

/// The one that the last heartbeat was served.
pub(super) fn of_probe(probe: &ProbeRow) -> Option<Certificate> {
    let ends = probe.started_at.plus_ms(probe.certificate_days?.saturating_mul(DAY_MS));
    Some(Certificate { name: "public".to_owned(), ours: true, ends })
}

/// Those of the marketplace's domains.
pub(super) fn of_marketplace(seen: Vec<(String, Timestamp)>) -> impl Iterator<Item = Certificate> {
    seen.into_iter().map(|(name, ends)| Certificate { name, ours: false, ends })
}

impl Certificate {
    pub(super) fn days_left(&self, now: Timestamp) -> i64 {
        self.ends.ms_since(now).div_euclid(DAY_MS)
    }

    pub(super) fn alarm(&self, now: Timestamp) -> Option<Alarm> {
        let days = self.days_left(now);
        let step = STEPS.into_iter().find(|step| days < *step)?;
        let whose = match (self.ours, self.name.as_str()) {
            (true, "file") => "the certificate in callback.tls-cert".to_owned(),
            (true, _) => "the certificate at our public address".to_owned(),
            (false, domain) => format!("the marketplace's certificate of {domain}"),
        };
        let text = match days {
            ..0 => format!("{whose} ended {} days ago", -days),
            0 => format!("{whose} ends within a day"),
            days => format!("{whose} ends in {days} days"),
        };
        let what_to_do = if self.ours {
            "renew it, serve the whole chain, then `authcoded probe run`: with an expired one every callback fails"
        } else {
            "nothing unless it stays so to the end: then the marketplace cannot be asked. Look at its announcements; our checks are never relaxed"
        };
        // An expired one is another piece of news than one with a day left.
        let step = if days < 0 { 0 } else { step };
        let severity = if step <= HIGH_DAYS { Severity::High } else { Severity::Warning };
        let id = format!("certificate-{}-{step}", self.name);
        Some(Alarm { id, ..of_kind("certificate", severity, now, text, what_to_do) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const NOW: Timestamp = Timestamp::from_ms(1_795_249_800_000);

    #[test]
    fn each_step_is_one_alarm_and_the_last_week_is_high() {
        let certificate =
            Certificate { name: "public".to_owned(), ours: true, ends: NOW.plus_ms(60 * DAY_MS) };
        let mut days = BTreeMap::<_, Vec<i64>>::new();
        for hour in 0..62 * 24 {
            let now = NOW.plus_ms(hour * DAY_MS / 24 + 1);
            if let Some(alarm) = certificate.alarm(now) {
                days.entry((alarm.id, alarm.severity))
                    .or_default()
                    .push(certificate.days_left(now));
            }
        }
        let spans: Vec<_> = days
            .iter()
            .map(|((id, severity), days)| {
                let id = id.strip_prefix("certificate-public-").expect("its id");
                (id, *severity, days.iter().max().copied(), days.iter().min().copied())
            })
            .collect();
        let (warning, high) = (Severity::Warning, Severity::High);
        assert_eq!(
            spans,
            [
                ("0", high, Some(-1), Some(-2)),
                ("1", high, Some(0), Some(0)),
                ("14", warning, Some(13), Some(7)),
                ("3", high, Some(2), Some(1)),
                ("30", warning, Some(29), Some(14)),
                ("7", high, Some(6), Some(3)),
            ]
        );
    }

    #[test]
    fn a_file_s_first_certificate_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("made");
        let file = folder.path().join("tls.pem");
        std::fs::write(&file, made.cert.pem()).expect("written");
        let read = of_file(Some(&file)).expect("read");
        assert!(read.ours && read.days_left(NOW) > 365, "{read:?}");
        assert_eq!(of_file(Some(&folder.path().join("none"))), None);
        assert_eq!(of_file(None), None);
    }
}
