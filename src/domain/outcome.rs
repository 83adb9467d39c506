//! Codes on the wire, each mapped once: the marketplace's answers to an [`Outcome`], ours to a [`ResultCode`].

use std::fmt;

/// What an answer of the marketplace's open API means for us (product.md §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// 92020000, MKT.0000: done.
    Done,
    /// An internal fault or throttling over there: again later, with backoff.
    Retry,
    /// We are not who we say: stop the whole queue, because five failures lock the access key.
    Stop,
    /// Our request is wrong: repeating it changes nothing.
    Permanent,
    /// 92020003: the code is in a state that forbids the call; ask which.
    IllegalState,
    /// 92020004: the buyer has not received the code yet.
    NotReceived,
    /// 92020005: the marketplace does not know the code.
    UnknownCode,
    /// 92020011: the code is not activated.
    NotActivated,
    /// 92020020: some code of a batch is invalid.
    InvalidInBatch,
    /// A code we have never heard of: kept, counted, treated like [`Outcome::Retry`].
    Unrecognised,
}

impl Outcome {
    /// The word used in logs, metrics and `authcoded codes`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retry => "retry",
            Self::Stop => "stop",
            Self::Permanent => "permanent",
            Self::IllegalState => "illegal_state",
            Self::NotReceived => "not_received",
            Self::UnknownCode => "unknown_code",
            Self::NotActivated => "not_activated",
            Self::InvalidInBatch => "invalid_in_batch",
            Self::Unrecognised => "unrecognised",
        }
    }
}

/// Which HTTP statuses a row of [`ANSWERS`] speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http {
    /// Any status.
    Any,
    /// Exactly this one.
    Is(u16),
    /// 400 to 499.
    Client,
    /// 500 to 599.
    Server,
}

impl Http {
    const fn holds(self, status: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Is(is) => status == is,
            Self::Client => status >= 400 && status < 500,
            Self::Server => status >= 500 && status < 600,
        }
    }
}

impl fmt::Display for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Is(status) => write!(f, "{status}"),
            Self::Client => f.write_str("4xx"),
            Self::Server => f.write_str("5xx"),
        }
    }
}

/// One rule of the map. `code` is `*` for any, or a marketplace code; gateway codes stand without
/// their prefix, because it is `APIGW.` on some gateways and `APIG.` on others.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// The HTTP status the rule asks for.
    pub http: Http,
    /// The code the rule asks for.
    pub code: &'static str,
    /// What it means for us.
    pub outcome: Outcome,
    /// What it means, in words, and whose fault it is.
    pub meaning: &'static str,
}

const fn answer(http: Http, code: &'static str, outcome: Outcome, meaning: &'static str) -> Answer {
    Answer { http, code, outcome, meaning }
}

/// The map, read downwards: the first rule that holds decides. The sources are protocol.md 2.7 to 2.9.
pub const ANSWERS: &[Answer] = &[
    answer(Http::Is(401), "*", Outcome::Stop, "our access key, signature or clock is refused"),
    answer(Http::Is(403), "*", Outcome::Stop, "our account is not allowed to call"),
    answer(
        Http::Any,
        ".0301",
        Outcome::Stop,
        "signature, access key or clock is refused, or the key is locked",
    ),
    answer(Http::Any, ".0302", Outcome::Stop, "user not authorised"),
    answer(Http::Any, ".0303", Outcome::Stop, "app authentication failed"),
    answer(Http::Any, ".0304", Outcome::Stop, "app not authorised"),
    answer(Http::Any, ".0305", Outcome::Stop, "authentication information is wrong"),
    answer(Http::Any, ".0306", Outcome::Stop, "access denied"),
    answer(Http::Any, ".0307", Outcome::Stop, "token must be refreshed"),
    answer(Http::Any, ".0310", Outcome::Stop, "project unavailable"),
    answer(Http::Any, ".0311", Outcome::Stop, "debug authentication failed"),
    answer(Http::Any, ".0401", Outcome::Stop, "our address is unknown there"),
    answer(Http::Any, ".0402", Outcome::Stop, "our address is not authorised"),
    answer(Http::Any, ".0404", Outcome::Stop, "backend address denied"),
    answer(Http::Any, ".0802", Outcome::Stop, "user forbidden in the region"),
    answer(Http::Any, ".1009", Outcome::Stop, "app key or secret invalid"),
    answer(Http::Any, ".0308", Outcome::Retry, "throttled"),
    answer(Http::Is(429), "*", Outcome::Retry, "throttled"),
    answer(Http::Any, "MKT.0250", Outcome::Retry, "access frequency over the limit"),
    answer(Http::Is(500), "MKT.0100", Outcome::Permanent, "order query: bad input"),
    answer(
        Http::Server,
        "*",
        Outcome::Retry,
        "the marketplace or its gateway has an internal fault",
    ),
    answer(Http::Is(200), "92020000", Outcome::Done, "success"),
    answer(Http::Is(200), "MKT.0000", Outcome::Done, "order query: success"),
    answer(Http::Is(200), "92020001", Outcome::Retry, "internal fault of the marketplace"),
    answer(Http::Any, "92020002", Outcome::Permanent, "a parameter of ours is invalid"),
    answer(
        Http::Any,
        "92020003",
        Outcome::IllegalState,
        "illegal state of the code, for example activated already",
    ),
    answer(Http::Any, "92020004", Outcome::NotReceived, "the buyer has not received the code yet"),
    answer(Http::Any, "92020005", Outcome::UnknownCode, "the code does not exist"),
    answer(Http::Any, "92020011", Outcome::NotActivated, "the code is not activated yet"),
    answer(Http::Any, "92020020", Outcome::InvalidInBatch, "an invalid code is in the list"),
    answer(Http::Client, "95000001", Outcome::Permanent, "a request parameter is wrong"),
    answer(Http::Client, "95000002", Outcome::Permanent, "method not supported"),
    answer(Http::Client, "95000003", Outcome::Permanent, "content type is not application/json"),
    answer(Http::Client, "95000004", Outcome::Permanent, "body not readable as JSON"),
    answer(Http::Is(404), ".0103", Outcome::Retry, "gateway: backend missing"),
    answer(Http::Client, ".0101", Outcome::Permanent, "gateway: no such interface"),
    answer(Http::Client, ".0104", Outcome::Permanent, "gateway: plug-in configuration missing"),
    answer(Http::Client, ".0105", Outcome::Permanent, "gateway: backend configuration missing"),
    answer(Http::Client, ".0106", Outcome::Permanent, "gateway: orchestration error"),
    answer(Http::Client, ".0201", Outcome::Permanent, "gateway: bad or too large request"),
    answer(Http::Client, ".0204", Outcome::Permanent, "gateway: TLS version not supported"),
    answer(Http::Client, ".0501", Outcome::Permanent, "gateway: quota used up"),
    answer(Http::Client, ".0502", Outcome::Permanent, "gateway: frozen for its balance"),
    answer(Http::Client, ".0602", Outcome::Permanent, "gateway: bad request"),
    answer(Http::Client, ".0607", Outcome::Permanent, "gateway: protocol not supported"),
    answer(Http::Client, "MKT.0101", Outcome::Permanent, "order query: bad input"),
    answer(Http::Client, "MKT.0199", Outcome::Permanent, "order query: bad input"),
    answer(
        Http::Any,
        "*",
        Outcome::Unrecognised,
        "a code nobody told us of: kept, counted, tried again",
    ),
];

/// What an answer with this status and code means. `code` is `None` when the body held none.
#[must_use]
pub fn of_answer(http: u16, code: Option<&str>) -> Outcome {
    let code = code.unwrap_or("");
    let bare = match code.strip_prefix("APIGW").or_else(|| code.strip_prefix("APIG")) {
        Some(bare) if bare.starts_with('.') => bare,
        _ => code,
    };
    ANSWERS
        .iter()
        .find(|rule| rule.http.holds(http) && (rule.code == "*" || rule.code == bare))
        .map_or(Outcome::Unrecognised, |rule| rule.outcome)
}

/// What we answer to a callback (protocol.md 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResultCode {
    /// 000000: done, durably.
    Done,
    /// 000001: not authentic.
    NotAuthentic,
    /// 000002: the parameters or the body are not as the protocol says.
    Malformed,
    /// 000003: no such code, or one that is over.
    UnknownCode,
    /// 000005: could not be stored now; the marketplace is asked to come again.
    NotStored,
}

impl ResultCode {
    /// Every code we answer.
    pub const ALL: [Self; 5] =
        [Self::Done, Self::NotAuthentic, Self::Malformed, Self::UnknownCode, Self::NotStored];

    /// The six digits on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "000000",
            Self::NotAuthentic => "000001",
            Self::Malformed => "000002",
            Self::UnknownCode => "000003",
            Self::NotStored => "000005",
        }
    }

    /// The code that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }

    /// The message sent beside it: fixed, so that nothing of the request or of us leaks.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Done => "success.",
            Self::NotAuthentic => "authentication failed.",
            Self::Malformed => "request parameters illegal.",
            Self::UnknownCode => "authorization code does not exist.",
            Self::NotStored => "not stored, send again.",
        }
    }

    /// Whether the same call would always get this answer: only then is it stored with the nonce.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Done | Self::UnknownCode => true,
            Self::NotAuthentic | Self::Malformed | Self::NotStored => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row of product.md §3.2 and of the tables of protocol.md 2.7 to 2.9.
    #[test]
    fn every_documented_answer_has_its_outcome() {
        use Outcome::{
            Done, IllegalState, InvalidInBatch, NotActivated, NotReceived, Permanent, Retry, Stop,
            UnknownCode, Unrecognised,
        };
        let documented: &[(u16, &str, Outcome)] = &[
            (200, "92020000", Done),
            (200, "92020001", Retry),
            (500, "92020001", Retry),
            (403, "92020001", Stop),
            (200, "92020002", Permanent),
            (400, "92020002", Permanent),
            (200, "92020003", IllegalState),
            (200, "92020004", NotReceived),
            (200, "92020005", UnknownCode),
            (200, "92020011", NotActivated),
            (200, "92020020", InvalidInBatch),
            (400, "95000001", Permanent),
            (405, "95000002", Permanent),
            (415, "95000003", Permanent),
            (400, "95000004", Permanent),
            (404, "APIGW.0101", Permanent),
            (404, "APIGW.0103", Retry),
            (500, "APIGW.0103", Retry),
            (400, "APIGW.0104", Permanent),
            (400, "APIGW.0201", Permanent),
            (413, "APIGW.0201", Permanent),
            (414, "APIGW.0201", Permanent),
            (494, "APIGW.0201", Permanent),
            (502, "APIGW.0201", Retry),
            (504, "APIGW.0201", Retry),
            (400, "APIGW.0204", Permanent),
            (401, "APIGW.0301", Stop),
            (401, "APIG.0301", Stop),
            (403, "APIGW.0302", Stop),
            (401, "APIGW.0303", Stop),
            (403, "APIGW.0304", Stop),
            (401, "APIGW.0305", Stop),
            (403, "APIGW.0306", Stop),
            (401, "APIGW.0307", Stop),
            (429, "APIGW.0308", Retry),
            (429, "", Retry),
            (403, "APIGW.0310", Stop),
            (401, "APIGW.0311", Stop),
            (403, "APIGW.0401", Stop),
            (405, "APIGW.0501", Permanent),
            (405, "APIGW.0502", Permanent),
            (500, "APIGW.0601", Retry),
            (400, "APIGW.0602", Permanent),
            (400, "APIGW.0607", Permanent),
            (502, "APIGW.0610", Retry),
            (503, "APIGW.0613", Retry),
            (500, "APIGW.0705", Retry),
            (403, "APIGW.0802", Stop),
            (400, "APIGW.1009", Stop),
            (200, "MKT.0000", Done),
            (500, "MKT.0999", Retry),
            (500, "MKT.0100", Permanent),
            (400, "MKT.0101", Permanent),
            (401, "MKT.0150", Stop),
            (406, "MKT.0250", Retry),
            (500, "MKT.9001", Retry),
            (200, "92029999", Unrecognised),
            (200, "", Unrecognised),
            (302, "", Unrecognised),
            (418, "92020000", Unrecognised),
        ];
        for &(http, code, outcome) in documented {
            let code_given = (!code.is_empty()).then_some(code);
            assert_eq!(of_answer(http, code_given), outcome, "{http} {code}");
        }
    }

    #[test]
    fn no_rule_is_hidden_by_an_earlier_one() {
        for (i, rule) in ANSWERS.iter().enumerate() {
            let hidden = ANSWERS[..i].iter().any(|earlier| {
                (earlier.code == "*" || earlier.code == rule.code)
                    && (earlier.http == Http::Any || earlier.http == rule.http)
            });
            assert!(!hidden, "{} {} never decides", rule.http, rule.code);
        }
    }

    #[test]
    fn result_codes_round_trip_and_fit_the_wire() {
        for code in ResultCode::ALL {
            assert_eq!(ResultCode::parse(code.as_str()), Some(code));
            assert_eq!(code.as_str().len(), 6);
            assert!(code.message().len() <= 255);
        }
    }
}
