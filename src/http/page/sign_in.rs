//! Signing in with the admin token, and out.

use super::answers::{self, Away};
use super::form::{Form, back};
use super::layout::document;
use super::texts::Text;
use super::view::View;
use super::{Page, visitor};
use crate::http::body::Query;
use crate::http::problem::{Answer, text_answer};
use hyper::StatusCode;
use maud::{Markup, html};
use std::time::Instant;

/// The page itself; whoever is signed in has nothing to do here.
pub(super) fn show(view: &View, query: Option<&str>) -> Result<Answer, Away> {
    let query = Query::parse(query, &["back"])?;
    let back = back(query.get("back"));
    if view.form_token.is_some() {
        return Ok(answers::to(&back));
    }
    let told = query.get("back").map(|_| Text::SessionEnded);
    Ok(answers::page(view, view.t(Text::SignIn), None, &form(view, &back, told)))
}

fn form(view: &View, back: &str, told: Option<Text>) -> Markup {
    html! {
        @if let Some(told) = told { p .message role="alert" { (view.t(told)) } }
        form .card method="post" action="/sign-in" {
            input type="hidden" name="back" value=(back);
            label for="token" { (view.t(Text::TokenLabel)) }
            input #token type="password" name="token" required autofocus
                autocomplete="current-password" aria-describedby="token-hint";
            p #token-hint .hint { (view.t(Text::TokenHint)) }
            button { (view.t(Text::SignIn)) }
        }
    }
}

impl Page {
    /// Begins a session for whoever knows the token; each try is counted before it is looked at.
    pub(super) fn sign_in(&self, view: &View, form: &Form) -> Result<Answer, Away> {
        let now = Instant::now();
        if !self.sessions.may_try(now) {
            tracing::warn!(
                "too many tries to sign in to the admin page: more are refused for a while"
            );
            return Err(Away::TooManyTries);
        }
        if !self.token.is(form.get("token").unwrap_or("").trim().as_bytes()) {
            tracing::warn!("a sign-in to the admin page with a wrong token was refused");
            return Ok(wrong(view, &form.back()));
        }
        let id = self.sessions.begin(now).ok_or(Away::Store)?;
        tracing::info!("an operator signed in to the admin page");
        let mut answer = answers::to(&form.back());
        visitor::set_session(answer.headers_mut(), &id);
        Ok(answer)
    }

    /// Ends a session.
    pub(super) fn sign_out(&self, id: &str) -> Answer {
        self.sessions.end(id);
        let mut answer = answers::to("/sign-in");
        visitor::set_session(answer.headers_mut(), "");
        answer
    }
}

fn wrong(view: &View, back: &str) -> Answer {
    let content = form(view, back, Some(Text::WrongToken));
    let page = document(view, view.t(Text::SignIn), None, &content);
    text_answer(StatusCode::FORBIDDEN, page.into_string(), "text/html; charset=utf-8")
}
