//! Open-API requests after the gateway: what is asked, read as strictly as the documents allow.
//!
//! Invariant: whatever is not of the documented form is refused before anything is done. Fields nobody
//! documented are ignored, because new ones count as compatible (protocol.md 2.1).

use super::codes::{self, Known};
use super::faults::On;
use super::usage::{self, Report};
use crate::domain::license;
use crate::domain::time::{DateText, Timestamp};
use crate::protocol::open_api;
use hyper::Method;
use serde_json::{Map, Value};

/// The most codes of a batch (protocol.md 2.3).
const BATCH_MAX: usize = 100;

/// One of the open API's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// Activate one code.
    ActivateV1,
    /// Activate up to a hundred.
    ActivateV2,
    /// Query one code.
    QueryV1,
    /// Query up to a hundred.
    QueryV2,
    /// Report usage.
    Usage,
    /// Query an order.
    Order,
}

impl Endpoint {
    /// The endpoint at this path.
    pub(super) fn at(path: &str) -> Option<Self> {
        match path {
            open_api::ACTIVATE_V1 => Some(Self::ActivateV1),
            open_api::ACTIVATE_V2 => Some(Self::ActivateV2),
            open_api::QUERY_V1 => Some(Self::QueryV1),
            open_api::QUERY_V2 => Some(Self::QueryV2),
            open_api::USAGE_V2 => Some(Self::Usage),
            open_api::ORDER_V1 => Some(Self::Order),
            _ => None,
        }
    }

    /// What fault rules call it.
    pub(super) const fn on(self) -> On {
        match self {
            Self::ActivateV1 | Self::ActivateV2 => On::Activate,
            Self::QueryV1 | Self::QueryV2 => On::Query,
            Self::Usage => On::Usage,
            Self::Order => On::Order,
        }
    }
}

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Activate this code.
    Activate {
        /// The code.
        license: String,
        /// When the service really began.
        effect: Option<Timestamp>,
    },
    /// Activate all of these, or none.
    ActivateAll {
        /// The codes.
        licenses: Vec<String>,
        /// When the service really began.
        effect: Option<Timestamp>,
    },
    /// Query this code.
    Query(String),
    /// Query all of these.
    QueryAll(Vec<String>),
    /// Take these reports.
    Usage(Vec<Report>),
    /// Query this order.
    Order {
        /// The order.
        order_id: String,
        /// One line of it only.
        order_line_id: Option<String>,
    },
}

impl Ask {
    /// Reads a request to `endpoint`.
    pub(super) fn read(
        endpoint: Endpoint,
        method: &Method,
        content_type: Option<&str>,
        query: &[(String, String)],
        body: &[u8],
    ) -> Result<Self, Known> {
        if endpoint == Endpoint::Order {
            return read_order(method, query);
        }
        if method != Method::POST {
            return Err(codes::BAD_METHOD);
        }
        let media_type = content_type.and_then(|text| text.split(';').next()).unwrap_or_default();
        if !media_type.trim().eq_ignore_ascii_case("application/json") {
            return Err(codes::BAD_CONTENT_TYPE);
        }
        let body: Map<String, Value> = serde_json::from_slice(body).map_err(|_| codes::BAD_JSON)?;
        match endpoint {
            Endpoint::ActivateV1 => Ok(Self::Activate {
                license: license(body.get("license"))?,
                effect: effect(&body)?,
            }),
            Endpoint::ActivateV2 => {
                Ok(Self::ActivateAll { licenses: batch(&body)?, effect: effect(&body)? })
            }
            Endpoint::QueryV1 => {
                check_heartbeat_info(body.get("heartbeatInfo"))?;
                license(body.get("license")).map(Self::Query)
            }
            Endpoint::QueryV2 => batch(&body).map(Self::QueryAll),
            Endpoint::Usage => usage::parse(&body).map(Self::Usage),
            Endpoint::Order => read_order(method, query),
        }
    }

    /// The codes it is about.
    pub(super) fn licenses(&self) -> Vec<&str> {
        match self {
            Self::Activate { license, .. } | Self::Query(license) => vec![license],
            Self::ActivateAll { licenses, .. } | Self::QueryAll(licenses) => {
                licenses.iter().map(String::as_str).collect()
            }
            Self::Usage(reports) => reports.iter().map(|report| report.license.as_str()).collect(),
            Self::Order { .. } => Vec::new(),
        }
    }
}

fn read_order(method: &Method, query: &[(String, String)]) -> Result<Ask, Known> {
    if method != Method::GET {
        return Err(codes::BAD_METHOD);
    }
    let parameter = |name| {
        let mut values = query.iter().filter(|(key, _)| key == name).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(one), None) if license::OrderId::parse(one).is_ok() => Ok(Some(one.clone())),
            (Some(_), _) => Err(codes::ORDER_BAD_INPUT),
        }
    };
    let order_id = parameter("orderId")?.ok_or(codes::ORDER_BAD_INPUT)?;
    Ok(Ask::Order { order_id, order_line_id: parameter("orderLineId")? })
}

fn license(value: Option<&Value>) -> Result<String, Known> {
    let text = value.and_then(Value::as_str);
    let text = text.filter(|text| license::Code::parse(text).is_ok());
    text.map(str::to_owned).ok_or(codes::BAD_PARAMETER)
}

fn batch(body: &Map<String, Value>) -> Result<Vec<String>, Known> {
    let list = body.get("license_list").and_then(Value::as_array);
    let list = list.filter(|list| (1..=BATCH_MAX).contains(&list.len()));
    list.ok_or(codes::BAD_PARAMETER)?.iter().map(|item| license(Some(item))).collect()
}

/// `real_effect_time`, UTC. Null counts as absent.
fn effect(body: &Map<String, Value>) -> Result<Option<Timestamp>, Known> {
    match body.get("real_effect_time") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let text = value.as_str().and_then(|text| DateText::parse(text).ok());
            text.map(|text| Some(text.utc())).ok_or(codes::BAD_PARAMETER)
        }
    }
}

/// `heartbeatInfo` has gone out of use, but its limits are still documented (protocol.md 2.4).
fn check_heartbeat_info(value: Option<&Value>) -> Result<(), Known> {
    let Some(info) = value.filter(|value| !value.is_null()) else { return Ok(()) };
    let fits = |name: &str, max: usize| {
        info.get(name).and_then(Value::as_str).map(|text| (1..=max).contains(&text.chars().count()))
    };
    match (fits("thirdPartyAccount", 256), fits("ip", 32), info.get("ip")) {
        (Some(true), Some(true), _) | (Some(true), None, None) => Ok(()),
        _ => Err(codes::BAD_PARAMETER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(endpoint: Endpoint, body: &str) -> Result<Ask, &'static str> {
        Ask::read(endpoint, &Method::POST, Some("application/json"), &[], body.as_bytes())
            .map_err(|known| known.code)
    }

    #[test]
    fn transport_faults_have_their_codes() {
        let read = |method, content_type, body: &str| {
            Ask::read(Endpoint::QueryV1, &method, content_type, &[], body.as_bytes())
                .map_err(|known| (known.http, known.code))
        };
        let good = r#"{"license":"PL1"}"#;
        let json = Some("application/json; charset=utf-8");
        assert_eq!(read(Method::POST, json, good), Ok(Ask::Query("PL1".to_owned())));
        assert_eq!(read(Method::PUT, json, good), Err((405, "95000002")));
        assert_eq!(read(Method::POST, Some("text/plain"), good), Err((415, "95000003")));
        assert_eq!(read(Method::POST, None, good), Err((415, "95000003")));
        assert_eq!(read(Method::POST, json, "[]"), Err((400, "95000004")));
        assert_eq!(read(Method::POST, json, "{"), Err((400, "95000004")));
    }

    #[test]
    fn field_rules_are_kept() {
        for body in [
            r"{}".to_owned(),
            r#"{"license":""}"#.to_owned(),
            r#"{"license":7}"#.to_owned(),
            format!(r#"{{"license":"{}"}}"#, "x".repeat(65)),
            r#"{"license":"PL1","real_effect_time":"2026-01-02"}"#.to_owned(),
        ] {
            assert_eq!(post(Endpoint::ActivateV1, &body), Err("95000001"), "{body}");
        }
        let batch = |n| format!(r#"{{"license_list":[{}]}}"#, vec![r#""PL1""#; n].join(","));
        for n in [0, 101] {
            assert_eq!(post(Endpoint::ActivateV2, &batch(n)), Err("95000001"), "{n}");
        }
        assert!(post(Endpoint::QueryV2, &batch(100)).is_ok());
        let told = r#"{"license":"PL1","heartbeatInfo":{"thirdPartyAccount":"a","ip":"::1"}}"#;
        assert!(post(Endpoint::QueryV1, told).is_ok());
        let short = r#"{"license":"PL1","heartbeatInfo":{"ip":"::1"}}"#;
        assert_eq!(post(Endpoint::QueryV1, short), Err("95000001"));
    }

    #[test]
    fn an_order_is_asked_for_by_its_number() {
        let get = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            Ask::read(Endpoint::Order, &Method::GET, None, &pairs, b"").map_err(|known| known.code)
        };
        let order_id = "CS1".to_owned();
        assert_eq!(get(&[("orderId", "CS1")]), Ok(Ask::Order { order_id, order_line_id: None }));
        assert_eq!(get(&[]), Err("MKT.0101"));
        assert_eq!(get(&[("orderId", "CS1"), ("orderId", "CS2")]), Err("MKT.0101"));
    }
}
