//! Faults on order: which call goes wrong, how often, and in which way.
//!
//! Invariant: without a rule nothing goes wrong; a rule with `times` is used up that often and no more;
//! the dice are seeded.

use super::random::Random;
use serde::Deserialize;

/// Which kind of call a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum On {
    /// Activation, v1 and v2.
    Activate,
    /// Query, v1 and v2.
    Query,
    /// Usage report.
    Usage,
    /// Order query.
    Order,
    /// The marketplace's own calls to the merchant.
    Callback,
    /// A connection over TLS to the open API, before any call.
    Connection,
}

impl On {
    /// The word in JSON.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Query => "query",
            Self::Usage => "usage",
            Self::Order => "order",
            Self::Callback => "callback",
            Self::Connection => "connection",
        }
    }
}

/// What goes wrong. Of the open API's faults, `ErrorCode`, `Http` and the `…Before` ones keep the call
/// from having an effect; after all others the call has been carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// `http_NNN`: that status with the code that goes with it; nothing is done.
    Http(u16),
    /// `error_code:C`: that code with its documented status; nothing is done.
    ErrorCode(String),
    /// `status:N`: done, but answered with another HTTP status.
    Status(u16),
    /// `hang`: done, but never answered.
    Hang,
    /// `hang_before`: neither done nor answered.
    HangBefore,
    /// `cut`: done, but the connection ends in the middle of the answer. A callback's answer is lost so.
    Cut,
    /// `cut_before`: the connection ends and nothing is done.
    CutBefore,
    /// `delay_ms:N`: answered (or, for a callback, sent) so many real milliseconds later.
    Delay(u64),
    /// `html`: an HTML page instead of the answer.
    Html,
    /// `empty`: no body.
    Empty,
    /// `truncated`: half of the body, properly framed.
    Truncated,
    /// `huge`: 32 MiB of body.
    Huge,
    /// `unknown_status`: a licence status nobody has heard of.
    UnknownStatus,
    /// `unknown_field`: a new field in the answer, which a merchant must bear.
    UnknownField,
    /// `numbers`: numbers where texts belong.
    Numbers,
    /// `bad_date`: an end that is no date.
    BadDate,
    /// `wrong_content_type`: `text/plain`.
    WrongContentType,
    /// `skew_s:N`: the `Date` header, or a callback's timestamp, is N seconds ahead (behind if negative).
    Skew(i64),
    /// `duplicate`: the same signed call twice.
    Duplicate,
    /// `duplicate_resigned`: the same call twice, each with its own nonce.
    DuplicateResigned,
    /// `reorder`: signed now, but delivered after a later call about the same code.
    Reorder,
    /// `drop`: the call is never made.
    Drop,
    /// `bad_signature`: one digit of the signature is wrong.
    BadSignature,
    /// `wrong_key`: signed with another key.
    WrongKey,
    /// `old_key`: signed with the key before the present one.
    OldKey,
    /// `wrong_certificate`: a certificate whose issuer's signature does not hold.
    WrongCertificate,
}

/// Why a rule is not taken. The caller's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadRule {
    /// No such fault.
    #[error("there is no fault {0:?}; GET /console lists them")]
    Unknown(String),
    /// The number behind the colon is missing or out of range.
    #[error("the fault {0:?} needs a number in range behind its colon")]
    Number(String),
    /// The fault cannot happen to that kind of call.
    #[error("the fault {0:?} cannot happen on {1:?}")]
    NotThere(String, &'static str),
    /// Not a probability.
    #[error("`probability` is between 0 and 1")]
    Probability,
}

/// What each fault is called, for the console's page.
pub(super) const NAMES: &str = "http_NNN error_code:C status:N hang hang_before cut cut_before delay_ms:N html empty \
     truncated huge unknown_status unknown_field numbers bad_date wrong_content_type skew_s:N duplicate \
     duplicate_resigned reorder drop bad_signature wrong_key old_key wrong_certificate";

impl Fault {
    fn parse(text: &str) -> Result<Self, BadRule> {
        let plain = match text {
            "hang" => Some(Self::Hang),
            "hang_before" => Some(Self::HangBefore),
            "cut" => Some(Self::Cut),
            "cut_before" => Some(Self::CutBefore),
            "html" => Some(Self::Html),
            "empty" => Some(Self::Empty),
            "truncated" => Some(Self::Truncated),
            "huge" => Some(Self::Huge),
            "unknown_status" => Some(Self::UnknownStatus),
            "unknown_field" => Some(Self::UnknownField),
            "numbers" => Some(Self::Numbers),
            "bad_date" => Some(Self::BadDate),
            "wrong_content_type" => Some(Self::WrongContentType),
            "duplicate" => Some(Self::Duplicate),
            "duplicate_resigned" => Some(Self::DuplicateResigned),
            "reorder" => Some(Self::Reorder),
            "drop" => Some(Self::Drop),
            "bad_signature" => Some(Self::BadSignature),
            "wrong_key" => Some(Self::WrongKey),
            "old_key" => Some(Self::OldKey),
            "wrong_certificate" => Some(Self::WrongCertificate),
            _ => None,
        };
        plain.map_or_else(|| Self::parse_with_argument(text), Ok)
    }

    fn parse_with_argument(text: &str) -> Result<Self, BadRule> {
        let number = || BadRule::Number(text.to_owned());
        let status = |digits: &str| {
            let status: u16 = digits.parse().map_err(|_| number())?;
            if (200..600).contains(&status) { Ok(status) } else { Err(number()) }
        };
        if let Some(digits) = text.strip_prefix("http_") {
            return status(digits).map(Self::Http);
        }
        match text.split_once(':') {
            Some(("status", digits)) => status(digits).map(Self::Status),
            Some(("delay_ms", ms)) => ms.parse().map(Self::Delay).map_err(|_| number()),
            Some(("skew_s", s)) => s.parse().map(Self::Skew).map_err(|_| number()),
            Some(("error_code", code)) if !code.is_empty() => Ok(Self::ErrorCode(code.to_owned())),
            _ => Err(BadRule::Unknown(text.to_owned())),
        }
    }

    /// Whether the fault can happen to a call of this kind.
    const fn happens_on(&self, on: On) -> bool {
        let callback = matches!(on, On::Callback);
        let connection = matches!(on, On::Connection);
        match self {
            Self::WrongCertificate => connection,
            Self::Delay(_) | Self::Skew(_) | Self::WrongContentType | Self::Cut => !connection,
            Self::Duplicate
            | Self::DuplicateResigned
            | Self::Reorder
            | Self::Drop
            | Self::BadSignature
            | Self::WrongKey
            | Self::OldKey => callback,
            Self::UnknownStatus | Self::BadDate => matches!(on, On::Activate | On::Query),
            Self::Http(_)
            | Self::ErrorCode(_)
            | Self::Status(_)
            | Self::Hang
            | Self::HangBefore
            | Self::CutBefore
            | Self::Html
            | Self::Empty
            | Self::Truncated
            | Self::Huge
            | Self::UnknownField
            | Self::Numbers => !callback && !connection,
        }
    }
}

/// A rule as the console takes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleText {
    on: On,
    code: Option<String>,
    times: Option<u32>,
    probability: Option<f64>,
    fault: String,
}

impl RuleText {
    /// Whether the rule needs the key before the present one.
    pub(super) fn needs_old_key(&self) -> bool {
        Fault::parse(&self.fault) == Ok(Fault::OldKey)
    }
}

#[derive(Debug, Clone)]
struct Rule {
    text: RuleText,
    fault: Fault,
    left: Option<u32>,
    used: u64,
}

/// The rules in force, in the order in which they were given.
#[derive(Debug, Default)]
pub(super) struct Faults {
    rules: Vec<Rule>,
}

impl Faults {
    /// Adds rules: all of them, or none if one is wrong.
    pub(super) fn add(&mut self, texts: Vec<RuleText>) -> Result<(), BadRule> {
        let rules: Result<Vec<Rule>, BadRule> = texts.into_iter().map(Rule::new).collect();
        self.rules.extend(rules?);
        Ok(())
    }

    /// Forgets all rules.
    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// The faults of one call about these codes; each rule that hits is used once.
    pub(super) fn draw(&mut self, on: On, licenses: &[&str], dice: &mut Random) -> Vec<Fault> {
        let hit = |rule: &mut Rule| {
            let about = rule.text.code.as_deref().is_none_or(|code| licenses.contains(&code));
            let hits = rule.text.on == on
                && about
                && rule.left != Some(0)
                && rule.text.probability.is_none_or(|p| dice.chance(p));
            hits.then(|| {
                rule.left = rule.left.map(|left| left - 1);
                rule.used += 1;
                rule.fault.clone()
            })
        };
        self.rules.iter_mut().filter_map(hit).collect()
    }

    /// The rules as the console shows them.
    pub(super) fn to_json(&self) -> serde_json::Value {
        let rule = |rule: &Rule| {
            serde_json::json!({
                "on": rule.text.on.as_str(), "code": rule.text.code, "probability": rule.text.probability,
                "fault": rule.text.fault, "left": rule.left, "used": rule.used,
            })
        };
        self.rules.iter().map(rule).collect()
    }
}

impl Rule {
    fn new(text: RuleText) -> Result<Self, BadRule> {
        let fault = Fault::parse(&text.fault)?;
        if !fault.happens_on(text.on) {
            return Err(BadRule::NotThere(text.fault, text.on.as_str()));
        }
        if text.probability.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
            return Err(BadRule::Probability);
        }
        Ok(Self { left: text.times, used: 0, fault, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: &str) -> Result<Faults, BadRule> {
        let mut faults = Faults::default();
        faults.add(serde_json::from_str(json).expect("rules in JSON"))?;
        Ok(faults)
    }

    #[test]
    fn every_name_on_the_page_is_a_fault() {
        for name in NAMES.split_whitespace() {
            let text = name.replace("NNN", "503").replace(":N", ":404").replace(":C", ":95000001");
            assert!(Fault::parse(&text).is_ok(), "{text}");
        }
        assert_eq!(Fault::parse("explode"), Err(BadRule::Unknown("explode".to_owned())));
        assert_eq!(Fault::parse("status:99"), Err(BadRule::Number("status:99".to_owned())));
    }

    #[test]
    fn a_rule_is_used_up_and_keeps_to_its_code() {
        let mut faults = rules(
            r#"[{"on":"activate","code":"PL1","times":2,"fault":"cut"},{"on":"query","fault":"html"}]"#,
        )
        .expect("good rules");
        let mut dice = Random::new(1, 1);
        assert!(faults.draw(On::Activate, &["PL2"], &mut dice).is_empty());
        for _ in 0..2 {
            assert_eq!(faults.draw(On::Activate, &["PL0", "PL1"], &mut dice), [Fault::Cut]);
        }
        assert!(faults.draw(On::Activate, &["PL1"], &mut dice).is_empty(), "used up");
        assert_eq!(faults.draw(On::Query, &[], &mut dice), [Fault::Html]);
    }

    #[test]
    fn impossible_rules_are_refused() {
        let wrong_side = rules(r#"[{"on":"callback","fault":"html"}]"#).map(|_| ());
        assert_eq!(wrong_side, Err(BadRule::NotThere("html".to_owned(), "callback")));
        let too_likely = rules(r#"[{"on":"query","probability":1.5,"fault":"html"}]"#).map(|_| ());
        assert_eq!(too_likely, Err(BadRule::Probability));
    }
}
