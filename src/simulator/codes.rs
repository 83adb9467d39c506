//! Every error code that the marketplace and its gateway document, with the HTTP status it comes with.
//!
//! Invariant: the simulator answers no code that is not in this table (protocol.md 2.7 to 2.9), except
//! one that a fault rule invents on purpose.

/// One documented code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// The code on the wire.
    pub code: &'static str,
    /// The HTTP status it is answered with.
    pub http: u16,
    /// The text beside it. Nobody may rely on it.
    pub message: &'static str,
}

const fn known(code: &'static str, http: u16, message: &'static str) -> Known {
    Known { code, http, message }
}

/// 92020000.
pub(super) const SUCCESS: Known = known("92020000", 200, "success");
/// 92020002.
pub(super) const INVALID_PARAMETER: Known = known("92020002", 200, "invalid parameter");
/// 92020003.
pub(super) const ILLEGAL_STATE: Known = known("92020003", 200, "illegal license status");
/// 92020004.
pub(super) const NOT_RECEIVED: Known =
    known("92020004", 200, "license can not be activated before user received");
/// 92020005.
pub(super) const UNKNOWN_LICENSE: Known = known("92020005", 200, "license code not exist.");
/// 92020011.
pub(super) const NOT_ACTIVATED: Known = known("92020011", 200, "license code not activated");
/// 92020020.
pub(super) const INVALID_IN_LIST: Known = known("92020020", 200, "Invalid license code exists");
/// 95000001.
pub(super) const BAD_PARAMETER: Known = known("95000001", 400, "request parameter error");
/// 95000002.
pub(super) const BAD_METHOD: Known = known("95000002", 405, "request method not supported");
/// 95000003.
pub(super) const BAD_CONTENT_TYPE: Known = known("95000003", 415, "content type not supported");
/// 95000004.
pub(super) const BAD_JSON: Known = known("95000004", 400, "request body is not readable");
/// APIGW.0101.
pub(super) const NO_SUCH_API: Known =
    known("APIGW.0101", 404, "The API does not exist or has not been published in the environment");
/// APIGW.0201 with 413.
pub(super) const TOO_LARGE: Known = known("APIGW.0201", 413, "request entity too large");
/// APIGW.0301.
pub(super) const NOT_AUTHENTIC: Known = known(
    "APIGW.0301",
    401,
    "Incorrect IAM authentication information: verify aksk signature fail",
);
/// APIGW.0301 for an access key nobody knows.
pub(super) const UNKNOWN_AK: Known = known(
    "APIGW.0301",
    401,
    "Incorrect IAM authentication information: Get secretKey failed, ak not exist",
);
/// APIGW.0301 while the access key is locked.
pub(super) const LOCKED: Known = known(
    "APIGW.0301",
    401,
    "Incorrect IAM authentication information: AK access failed to reach the limit,forbidden",
);
/// APIGW.0308.
pub(super) const THROTTLED: Known =
    known("APIGW.0308", 429, "The throttling threshold has been reached");
/// MKT.0000.
pub(super) const ORDER_SUCCESS: Known = known("MKT.0000", 200, "success");
/// MKT.0101.
pub(super) const ORDER_BAD_INPUT: Known = known("MKT.0101", 400, "request parameter error");
/// MKT.0199.
pub(super) const ORDER_UNKNOWN: Known = known("MKT.0199", 400, "order does not exist");

/// The table. Where a code has more than one status, the first line is the one a fault rule gets.
const ALL: &[Known] = &[
    SUCCESS,
    known("92020001", 200, "internal error"),
    INVALID_PARAMETER,
    ILLEGAL_STATE,
    NOT_RECEIVED,
    UNKNOWN_LICENSE,
    NOT_ACTIVATED,
    INVALID_IN_LIST,
    BAD_PARAMETER,
    BAD_METHOD,
    BAD_CONTENT_TYPE,
    BAD_JSON,
    NO_SUCH_API,
    known("APIGW.0103", 404, "The backend does not exist"),
    known("APIGW.0104", 400, "The plug-in is not configured"),
    known("APIGW.0105", 400, "The backend is not configured"),
    known("APIGW.0106", 400, "Orchestration error"),
    known("APIGW.0201", 502, "Backend unavailable"),
    TOO_LARGE,
    known("APIGW.0204", 400, "SSL protocol is not supported"),
    NOT_AUTHENTIC,
    known("APIGW.0302", 403, "The IAM user is not authorized to access the API"),
    known("APIGW.0303", 401, "Incorrect app authentication information"),
    known("APIGW.0304", 403, "The app is not authorized to access the API"),
    known("APIGW.0305", 401, "Incorrect authentication information"),
    known("APIGW.0306", 403, "API access denied"),
    known("APIGW.0307", 401, "The token must be updated"),
    THROTTLED,
    known("APIGW.0310", 403, "The project is unavailable"),
    known("APIGW.0311", 401, "Incorrect debugging authentication information"),
    known("APIGW.0401", 403, "Unknown client IP address"),
    known("APIGW.0402", 403, "The IP address is not authorized to access the API"),
    known("APIGW.0404", 403, "Access to the backend IP address has been denied"),
    known("APIGW.0501", 405, "The app quota has been used up"),
    known("APIGW.0502", 405, "The app has been frozen"),
    known("APIGW.0601", 500, "Internal server error"),
    known("APIGW.0602", 400, "Bad request"),
    known("APIGW.0605", 500, "Domain name resolution failed"),
    known("APIGW.0606", 500, "Failed to load the API configuration"),
    known("APIGW.0607", 400, "The protocol is not supported"),
    known("APIGW.0608", 500, "Failed to obtain the admin token"),
    known("APIGW.0609", 500, "The VPC backend does not exist"),
    known("APIGW.0610", 502, "No backend available"),
    known("APIGW.0611", 500, "The backend port does not exist"),
    known("APIGW.0612", 500, "An API cannot call itself"),
    known("APIGW.0613", 503, "The IAM service is currently unavailable"),
    known("APIGW.0705", 500, "Backend signature calculation failed"),
    known("APIGW.0802", 403, "The IAM user is forbidden in the currently selected region"),
    known("APIGW.1009", 400, "AppKey or AppSecret is invalid"),
    ORDER_SUCCESS,
    known("MKT.0999", 500, "internal error"),
    known("MKT.0100", 500, "bad input"),
    ORDER_BAD_INPUT,
    ORDER_UNKNOWN,
    known("MKT.0150", 401, "not your product"),
    known("MKT.0151", 401, "no authority"),
    known("MKT.0154", 401, "bad token"),
    known("MKT.0250", 406, "access frequency over limit"),
    known("MKT.9001", 500, "internal error"),
    known("MKT.9002", 500, "internal error"),
    known("MKT.9003", 500, "internal error"),
    known("MKT.9004", 500, "internal error"),
];

/// The documented status and text of `code`; none when the documents do not know it.
pub(super) fn find(code: &str) -> Option<Known> {
    ALL.iter().copied().find(|known| known.code == code)
}

/// The code that fits an HTTP status a fault rule asks for: throttling, the gateway's own troubles, or
/// the old table's pairs of a status with 92020001 (protocol.md 2.8).
pub(super) const fn for_status(status: u16) -> &'static str {
    match status {
        401 => "APIGW.0301",
        403 | 500 => "92020001",
        404 => "APIGW.0103",
        429 => "APIGW.0308",
        502 | 504 => "APIGW.0201",
        503 => "APIGW.0613",
        _ => "APIGW.0601",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::{Outcome, of_answer};

    #[test]
    fn the_daemon_recognises_every_code_of_the_table() {
        for known in ALL {
            let outcome = of_answer(known.http, Some(known.code));
            assert_ne!(outcome, Outcome::Unrecognised, "{known:?}");
        }
    }
}
