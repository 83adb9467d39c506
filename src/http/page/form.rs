//! What a form of ours sent.

use super::answers::Away;
use crate::http::body::{self, Query};
use crate::http::problem::Problem;
use hyper::Request;
use hyper::body::Incoming;

/// Every field of every form.
const FIELDS: [&str; 13] = [
    "form", "back", "lang", "zone", "leave", "token", "act", "reason", "job", "codes", "state",
    "limit", "after",
];
/// The longest reason, in characters.
const REASON_MAX: usize = 1_000;

/// The fields.
pub(super) struct Form(Query);

impl Form {
    pub(super) async fn read(request: Request<Incoming>) -> Result<Self, Away> {
        let bytes = body::read(request.into_body()).await.map_err(Problem::from)?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| Problem::bad_request("the form is not UTF-8"))?;
        Ok(Self(Query::parse(Some(text), &FIELDS)?))
    }

    /// A field; empty is absent.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)
    }

    /// What ties it to its session.
    pub(super) fn token(&self) -> &str {
        self.get("form").unwrap_or("")
    }

    /// The reason given, with its line ends made one.
    pub(super) fn reason(&self) -> Result<Option<String>, Away> {
        let Some(text) = self.get("reason") else {
            return Ok(None);
        };
        let text = text.trim().replace("\r\n", "\n");
        if text.chars().count() > REASON_MAX || text.chars().any(|c| c.is_control() && c != '\n') {
            let why = "reason must be at most 1000 characters without control characters";
            return Err(Problem::bad_request(why).into());
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// Where to go afterwards: a page of ours, or the front.
    pub(super) fn back(&self) -> String {
        back(self.get("back"))
    }
}

/// A path of the page that somebody named, or the front: never a way off this listener.
pub(super) fn back(named: Option<&str>) -> String {
    let path = named.filter(|path| {
        let bare = path.split(['?', '#']).next().unwrap_or("");
        path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
            && super::Place::of_path(bare).is_some_and(|place| place != super::Place::SignIn)
    });
    path.unwrap_or("/").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_off_the_listener() {
        for good in ["/licenses?text=a", "/licenses/PL1", "/drift", "/"] {
            assert_eq!(back(Some(good)), good);
        }
        for bad in [
            "//evil.example",
            "https://evil.example/",
            "/\\evil.example",
            "evil",
            "/v1/licenses",
            "/licenses/a/b",
            "/sign-in",
            "/licenses/\r\nset-cookie: a",
            "",
        ] {
            assert_eq!(back(Some(bad)), "/", "{bad}");
        }
        assert_eq!(back(None), "/");
    }
}
