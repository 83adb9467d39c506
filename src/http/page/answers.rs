//! What the page answers: documents, ways to another page, and what went wrong. Each with the headers that keep
//! a browser from doing more with it than showing it.

use super::layout::{Tab, document};
use super::texts::Text;
use super::view::{View, with_query};
use crate::http::problem::{Answer, Problem, text_answer};
use crate::lifecycle::LifecycleError;
use crate::store::StoreError;
use hyper::StatusCode;
use hyper::header::{
    ALLOW, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY,
    RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use maud::{Markup, html};

/// Nothing from elsewhere, no frames, no inline style or script. `connect-src` lets the script ask for the
/// front page again.
const CSP: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; script-src 'self'; \
                   connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
const HTML: &str = "text/html; charset=utf-8";

/// Why a request does not get what it asked for.
#[derive(Debug)]
pub(super) enum Away {
    /// Not signed in, or no more.
    SignIn,
    /// Nothing there.
    NotFound,
    /// The path takes another method.
    WrongMethod,
    /// The request did not come from a page of ours.
    ForeignOrigin,
    /// The form belongs to another session.
    StaleForm,
    /// Too many tries to sign in.
    TooManyTries,
    /// What cannot be taken back is not done without a reason.
    NoReason,
    /// There is no such time zone.
    BadZone,
    /// The database, or the machine's randomness, could not do it now.
    Store,
    /// As for the admin interface.
    Problem(Problem),
}

impl From<Problem> for Away {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<StoreError> for Away {
    fn from(error: StoreError) -> Self {
        Self::Problem(error.into())
    }
}

impl From<LifecycleError> for Away {
    fn from(error: LifecycleError) -> Self {
        Self::Problem(error.into())
    }
}

impl Away {
    /// The answer in the viewer's language.
    pub(super) fn answer(self, view: &View) -> Answer {
        let (status, text) = match &self {
            Self::SignIn => {
                let back = Some(view.here.as_str()).filter(|path| *path != "/");
                return to(&with_query("/sign-in", &[("back", back)]));
            }
            Self::NotFound => (StatusCode::NOT_FOUND, Text::NotFound),
            Self::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, Text::WrongMethod),
            Self::ForeignOrigin => (StatusCode::FORBIDDEN, Text::ForeignOrigin),
            Self::StaleForm => (StatusCode::FORBIDDEN, Text::StaleForm),
            Self::TooManyTries => (StatusCode::TOO_MANY_REQUESTS, Text::TooManyTries),
            Self::NoReason => (StatusCode::BAD_REQUEST, Text::ReasonNeeded),
            Self::BadZone => (StatusCode::BAD_REQUEST, Text::BadZone),
            Self::Store => (StatusCode::SERVICE_UNAVAILABLE, Text::StoreAway),
            Self::Problem(problem) => (problem.status(), text_of(problem.status())),
        };
        let mut answer = trouble(view, status, text, &self);
        let header = match &self {
            Self::WrongMethod => Some((ALLOW, "GET, POST")),
            Self::TooManyTries => Some((RETRY_AFTER, "60")),
            _ => None,
        };
        if let Some((name, value)) = header {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }
}

fn text_of(status: StatusCode) -> Text {
    match status.as_u16() {
        404 => Text::NotFound,
        409 => Text::ToldReleased,
        503 => Text::StoreAway,
        _ => Text::BadRequest,
    }
}

fn trouble(view: &View, status: StatusCode, text: Text, why: &Away) -> Answer {
    let content = html! {
        p role="alert" { (view.t(text)) }
        @if let Away::Problem(problem) = why {
            p .hint lang="en" { (problem.detail()) }
        }
        p { a href="/" { (view.t(Text::Front)) } }
    };
    let page = document(view, view.t(Text::TroubleTitle), None, &content);
    text_answer(status, page.into_string(), HTML)
}

/// A page.
pub(super) fn page(view: &View, title: &str, tab: Option<Tab>, content: &Markup) -> Answer {
    text_answer(StatusCode::OK, document(view, title, tab, content).into_string(), HTML)
}

/// The way to another page, after something was done or because there is nothing to be seen here.
pub(super) fn to(path: &str) -> Answer {
    let mut answer = text_answer(StatusCode::SEE_OTHER, String::new(), HTML);
    match HeaderValue::from_str(path) {
        Ok(path) => answer.headers_mut().insert(LOCATION, path),
        Err(_) => answer.headers_mut().insert(LOCATION, HeaderValue::from_static("/")),
    };
    answer
}

/// The one style sheet.
pub(super) fn style() -> Answer {
    let text = include_str!("style.css").to_owned();
    text_answer(StatusCode::OK, text, "text/css; charset=utf-8")
}

/// The one script.
pub(super) fn script() -> Answer {
    let text = include_str!("script.js").to_owned();
    text_answer(StatusCode::OK, text, "text/javascript; charset=utf-8")
}

/// Adds what every answer of the page carries; `Cache-Control: no-store` is there already.
///
/// The referrer is withheld from other origins, not from our own: without it a browser sends our own forms
/// with `Origin: null`.
pub(super) fn harden(mut answer: Answer) -> Answer {
    let headers = answer.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, CSP),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}
