//! What a browser says of itself: its cookies, its languages, and which page it asks from.

use super::answers::Away;
use super::texts::Lang;
use crate::domain::slots::Zone;
use hyper::HeaderMap;
use hyper::header::{ACCEPT_LANGUAGE, COOKIE, HOST, HeaderValue, ORIGIN, SET_COOKIE};
use percent_encoding::percent_decode_str;

/// The session's id.
pub(super) const SESSION: &str = "authcoded-session";
/// The language, as chosen.
pub(super) const LANG: &str = "authcoded-lang";
/// The zone of times, as chosen.
pub(super) const ZONE: &str = "authcoded-zone";
/// What the page's script sends with what it asks by itself; no other page can send it.
const BY_SCRIPT: &str = "x-authcoded-refresh";
/// For how long a choice is kept, in seconds: a year.
const CHOICE_SECONDS: u32 = 365 * 24 * 60 * 60;

/// One visitor.
pub(super) struct Visitor {
    /// The id of a session, if one was sent.
    pub(super) session: Option<String>,
    /// As chosen, or else as the browser prefers.
    pub(super) lang: Lang,
    /// As chosen, or else as configured.
    pub(super) zone: Zone,
    /// The page's script asks, not a person.
    pub(super) by_script: bool,
}

impl Visitor {
    pub(super) fn of(headers: &HeaderMap, zone: Zone) -> Self {
        let accepted = headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let chosen = cookie(headers, LANG).and_then(|tag| Lang::of_tag(&tag));
        let chosen_zone = cookie(headers, ZONE).and_then(|name| name.parse().ok());
        Self {
            session: cookie(headers, SESSION),
            lang: chosen.unwrap_or_else(|| Lang::accepted(accepted.unwrap_or(""))),
            zone: chosen_zone.unwrap_or(zone),
            by_script: headers.contains_key(BY_SCRIPT),
        }
    }
}

/// Refuses what was not sent from a page of this very origin. A browser always says where a form comes
/// from; whoever says nothing is no browser, and has the admin interface.
pub(super) fn check_origin(headers: &HeaderMap) -> Result<(), Away> {
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or("");
    let mut origins = headers.get_all(ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else {
        return Err(Away::ForeignOrigin);
    };
    let ours = origin.as_bytes().strip_prefix(b"http://") == Some(host.as_bytes());
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes() == b"same-origin");
    if ours && site.unwrap_or(true) { Ok(()) } else { Err(Away::ForeignOrigin) }
}

/// The value of a cookie.
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.split_once('='));
    let value = pairs.map(|(n, v)| (n.trim(), v.trim())).find(|(n, _)| *n == name)?.1;
    Some(percent_decode_str(value).decode_utf8().ok()?.into_owned())
}

/// Adds a session's cookie to an answer; an empty id takes it back.
pub(super) fn set_session(headers: &mut HeaderMap, id: &str) {
    let end = if id.is_empty() { "; Max-Age=0" } else { "" };
    add(headers, &format!("{SESSION}={id}; HttpOnly; SameSite=Strict; Path=/{end}"));
}

/// Adds a choice of how pages look.
pub(super) fn set_choice(headers: &mut HeaderMap, name: &str, value: &str) {
    let value = super::view::encoded(value);
    let life = format!("Max-Age={CHOICE_SECONDS}");
    add(headers, &format!("{name}={value}; HttpOnly; SameSite=Strict; Path=/; {life}"));
}

fn add(headers: &mut HeaderMap, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        headers.append(SET_COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn cookies_are_found_among_others() {
        let headers = headers(&[("cookie", "a=1; authcoded-session=xyz"), ("cookie", "b=%2F")]);
        assert_eq!(cookie(&headers, SESSION), Some("xyz".to_owned()));
        assert_eq!(cookie(&headers, "b"), Some("/".to_owned()));
        assert_eq!(cookie(&headers, "session"), None);
    }

    #[test]
    fn a_choice_goes_before_what_the_browser_prefers() {
        let sent = headers(&[
            ("accept-language", "en"),
            ("cookie", "authcoded-lang=zh-CN; authcoded-zone=Europe%2FBerlin"),
        ]);
        let visitor = Visitor::of(&sent, Zone::SHANGHAI);
        assert_eq!((visitor.lang, visitor.zone.to_string()), (Lang::Zh, "Europe/Berlin".into()));
        let sent = headers(&[("cookie", "authcoded-lang=xx; authcoded-zone=Nowhere")]);
        let visitor = Visitor::of(&sent, Zone::SHANGHAI);
        assert_eq!((visitor.lang, visitor.zone), (Lang::En, Zone::SHANGHAI));
    }

    #[test]
    fn only_the_very_same_origin_may_order() {
        let host = ("host", "127.0.0.1:8651");
        let ours = ("origin", "http://127.0.0.1:8651");
        let may = |sent: &[(&'static str, &str)]| check_origin(&headers(sent)).is_ok();
        assert!(may(&[host, ours]));
        assert!(may(&[host, ours, ("sec-fetch-site", "same-origin")]));
        assert!(!may(&[host]));
        assert!(!may(&[host, ours, ours]));
        for site in ["cross-site", "same-site", "none"] {
            assert!(!may(&[host, ours, ("sec-fetch-site", site)]), "{site}");
        }
        for origin in [
            "null",
            "http://127.0.0.1:9999",
            "http://127.0.0.1",
            "https://127.0.0.1:8651",
            "http://evil.example",
            "http://localhost:8651",
        ] {
            assert!(!may(&[host, ("origin", origin)]), "{origin}");
        }
    }
}
