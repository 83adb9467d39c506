//! The admin page: rendered here, readable without a script, for people who have signed in.
//!
//! Invariant: whoever has no session sees the sign-in page and nothing else; nothing is changed by a request
//! that another page could have caused; every text that comes from outside is escaped by `maud`.

mod answers;
mod callback;
mod callbacks;
mod chart;
mod drift;
mod export;
mod form;
mod front;
mod jobs;
mod layout;
mod license;
mod licenses;
mod session;
mod settings;
mod sign_in;
mod texts;
mod timeline;
mod view;
mod visitor;
mod words;

use super::access::Token;
use super::problem::Answer;
use crate::domain::slots::Zone;
use crate::domain::time::Timestamp;
use crate::guard::Guard;
use crate::lifecycle::Lifecycle;
use crate::schedule::Board;
use answers::{Away, harden};
use form::Form;
use hyper::body::Incoming;
use hyper::{Method, Request};
use session::{Sessions, Use};
use std::sync::Arc;
use std::time::Instant;
use view::View;
use visitor::{Visitor, check_origin};

/// What the page shows of the configuration.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The zone of times until a viewer chooses another.
    pub zone: Zone,
    /// Each key in force with its value; of secrets, only the place.
    pub settings: Vec<(String, String)>,
}

/// What a path of the page leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Front,
    Licenses,
    License(String),
    Callbacks,
    Callback(String),
    Jobs,
    Drift,
    Settings,
    SignIn,
    Style,
    Script,
}

impl Place {
    /// The place that the segments of a path name, if the page has it.
    pub(super) fn of(segments: &[&str]) -> Option<Self> {
        Some(match segments {
            [""] => Self::Front,
            ["licenses"] => Self::Licenses,
            ["licenses", code] => Self::License((*code).to_owned()),
            ["callbacks"] => Self::Callbacks,
            ["callbacks", id] => Self::Callback((*id).to_owned()),
            ["jobs"] => Self::Jobs,
            ["drift"] => Self::Drift,
            ["settings"] => Self::Settings,
            ["sign-in"] => Self::SignIn,
            ["style.css"] => Self::Style,
            ["script.js"] => Self::Script,
            _ => return None,
        })
    }

    /// The place that a path on this listener names.
    fn of_path(path: &str) -> Option<Self> {
        Self::of(&path.strip_prefix('/')?.split('/').collect::<Vec<_>>())
    }
}

/// The page of one daemon.
pub(super) struct Page {
    lifecycle: Arc<Lifecycle>,
    guard: Arc<Guard>,
    board: Arc<Board>,
    token: Token,
    shown: Shown,
    sessions: Sessions,
    started_at: Timestamp,
}

impl Page {
    pub(super) fn new(
        lifecycle: Arc<Lifecycle>,
        guard: Arc<Guard>,
        board: Arc<Board>,
        token: Token,
        shown: Shown,
    ) -> Self {
        let (started_at, sessions) = (lifecycle.clock.now(), Sessions::new(Instant::now()));
        Self { lifecycle, guard, board, token, shown, sessions, started_at }
    }

    /// Answers a request for `place`; the host has been checked.
    pub(super) async fn answer(&self, place: Place, request: Request<Incoming>) -> Answer {
        let visitor = Visitor::of(request.headers(), self.shown.zone);
        let by = if visitor.by_script { Use::BySelf } else { Use::ByHand };
        let session =
            visitor.session.clone().filter(|id| self.sessions.holds(id, by, Instant::now()));
        let view = View {
            lang: visitor.lang,
            zone: visitor.zone,
            now: self.lifecycle.clock.now(),
            form_token: session.as_deref().map(|id| self.sessions.form_token(id)),
            here: request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        };
        let answered = match request.method() {
            &Method::GET | &Method::HEAD => {
                let query = request.uri().query().map(str::to_owned);
                self.read(&view, place, query.as_deref()).await
            }
            &Method::POST => match check_origin(request.headers()) {
                Ok(()) => self.act(&view, session.as_deref(), place, request).await,
                Err(away) => Err(away),
            },
            _ => Err(Away::WrongMethod),
        };
        harden(answered.unwrap_or_else(|away| away.answer(&view)))
    }

    async fn read(&self, view: &View, place: Place, query: Option<&str>) -> Result<Answer, Away> {
        match &place {
            Place::Style => return Ok(answers::style()),
            Place::Script => return Ok(answers::script()),
            Place::SignIn => return sign_in::show(view, query),
            _ if view.form_token.is_none() => return Err(Away::SignIn),
            _ => {}
        }
        match place {
            Place::Front => self.front(view, query),
            Place::Licenses => self.licenses(view, query).await,
            Place::License(code) => self.license(view, &code, query).await,
            Place::Callbacks => self.callbacks(view, query).await,
            Place::Callback(id) => self.callback(view, &id, query),
            Place::Jobs => self.jobs(view, query),
            Place::Drift => drift::ask(view, query),
            Place::Settings => self.settings(view, query),
            Place::SignIn | Place::Style | Place::Script => Err(Away::NotFound),
        }
    }

    async fn act(
        &self,
        view: &View,
        session: Option<&str>,
        place: Place,
        request: Request<Incoming>,
    ) -> Result<Answer, Away> {
        let form = Form::read(request).await?;
        match (&place, session) {
            (Place::SignIn, None) => return self.sign_in(view, &form),
            // How a page looks is chosen before signing in, too, and concerns nobody but the viewer.
            (Place::Settings, None) => return settings::keep(&form),
            (_, None) => return Err(Away::SignIn),
            (_, Some(id)) if !self.sessions.form_holds(id, form.token()) => {
                return Err(Away::StaleForm);
            }
            (Place::SignIn, Some(id)) => return Ok(self.sign_out(id)),
            (_, Some(_)) => {}
        }
        match place {
            Place::License(code) => self.act_on_license(&code, &form).await,
            Place::Jobs => self.run_job(&form).await,
            Place::Drift => self.drift(view, &form).await,
            Place::Settings => settings::keep(&form),
            Place::Front
            | Place::Licenses
            | Place::Callbacks
            | Place::Callback(_)
            | Place::SignIn
            | Place::Style
            | Place::Script => Err(Away::WrongMethod),
        }
    }
}
