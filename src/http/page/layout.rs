//! What stands around every page, and the parts that pages share.

use super::texts::{Lang, Text};
use super::view::{View, encoded};
use super::{phrases, words};
use crate::domain::state::State;
use maud::{DOCTYPE, Markup, html};

/// A page of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Front,
    Licenses,
    Callbacks,
    Jobs,
    Drift,
    Settings,
}

impl Tab {
    const ALL: [Self; 6] =
        [Self::Front, Self::Licenses, Self::Callbacks, Self::Jobs, Self::Drift, Self::Settings];

    const fn title(self) -> Text {
        match self {
            Self::Front => Text::Front,
            Self::Licenses => Text::Licenses,
            Self::Callbacks => Text::Callbacks,
            Self::Jobs => Text::Jobs,
            Self::Drift => Text::DriftTitle,
            Self::Settings => Text::Settings,
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Front => "/",
            Self::Licenses => "/licenses",
            Self::Callbacks => "/callbacks",
            Self::Jobs => "/jobs",
            Self::Drift => "/drift",
            Self::Settings => "/settings",
        }
    }
}

/// The whole document.
pub(super) fn document(view: &View, title: &str, tab: Option<Tab>, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(view.lang.tag()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · authcoded" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/style.css";
                script src="/script.js" defer {}
            }
            body {
                a .skip href="#content" { (view.t(Text::SkipToContent)) }
                (header(view, tab))
                main #content tabindex="-1" { h1 { (title) } (content) }
                (footer(view))
            }
        }
    }
}

fn header(view: &View, tab: Option<Tab>) -> Markup {
    html! {
        header {
            span .brand { "authcoded" }
            @if view.form_token.is_some() {
                nav aria-label=(view.t(Text::Navigation)) {
                    @for each in Tab::ALL {
                        a href=(each.path()) aria-current=[(tab == Some(each)).then_some("page")] {
                            (view.t(each.title()))
                        }
                    }
                }
            }
            div .tools { (languages(view)) (sign_out(view)) }
        }
    }
}

/// One button for each other language; works for whoever is not signed in, too.
fn languages(view: &View) -> Markup {
    html! {
        form method="post" action="/settings" {
            (view.token_field())
            input type="hidden" name="back" value=(view.here);
            @for lang in Lang::ALL.into_iter().filter(|lang| *lang != view.lang) {
                button .quiet name="lang" value=(lang.tag()) lang=(lang.tag()) { (lang.own_name()) }
            }
        }
    }
}

fn sign_out(view: &View) -> Markup {
    html! {
        @if view.form_token.is_some() {
            form method="post" action="/sign-in" {
                (view.token_field())
                button .quiet name="leave" value="yes" { (view.t(Text::SignOut)) }
            }
        }
    }
}

fn footer(view: &View) -> Markup {
    html! {
        footer {
            p {
                (view.t(Text::TimesAreIn)) " "
                @if view.form_token.is_some() { a href="/settings" { (view.zone_name()) } }
                @else { (view.zone_name()) }
                " · " (view.t(Text::Now)) " " (view.time(view.now))
                " · authcoded " (env!("CARGO_PKG_VERSION"))
            }
        }
    }
}

/// A table that scrolls by itself where it is wider than the screen.
pub(super) fn table(view: &View, columns: &[Text], rows: &Markup) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label=(view.t(Text::Scrollable)) {
            table {
                thead { tr { @for column in columns { th scope="col" { (view.t(*column)) } } } }
                tbody { (rows) }
            }
        }
    }
}

/// Names with values.
pub(super) fn facts(view: &View, facts: &[(Text, Markup)]) -> Markup {
    html! {
        dl .facts {
            @for (name, value) in facts { div { dt { (view.t(*name)) } dd { (value) } } }
        }
    }
}

/// A state as a word in a frame.
pub(super) fn state_mark(view: &View, state: State) -> Markup {
    html! { span class={ "mark state-" (state.as_str()) } { (view.t(words::state(state))) } }
}

/// An outcome as a word in a frame.
pub(super) fn outcome_mark(view: &View, outcome: &str) -> Markup {
    let known = words::outcome(outcome);
    let class = known.map_or("unknown", |_| outcome);
    html! { span class={ "mark outcome-" (class) } { (view.word(known, outcome)) } }
}

/// A callback's verdict as a word in a frame.
pub(super) fn verdict_mark(view: &View, verdict: &str) -> Markup {
    let known = words::verdict(verdict).map(|(word, _)| word);
    let class = known.map_or("unknown", |_| verdict);
    html! { span class={ "mark verdict-" (class) } { (view.word(known, verdict)) } }
}

/// A code that leads to its page.
pub(super) fn code_link(view: &View, code: Option<&str>) -> Markup {
    html! {
        @match code {
            Some(code) => { a .code href={ "/licenses/" (encoded(code)) } { (code) } }
            None => { (view.t(Text::Nothing)) }
        }
    }
}

/// What the daemon wrote for people, which it writes in English: in the viewer's language with the original below
/// it, or else as it is.
pub(super) fn told(view: &View, text: &str) -> Markup {
    html! {
        @match phrases::in_lang(text, view.lang) {
            Some(phrase) => {
                (view.prose(&phrase))
                small .original lang="en" { (view.prose(text)) }
            }
            None => span lang="en" { (view.prose(text)) },
        }
    }
}

/// The same without the original, where many stand below each other and each is short.
pub(super) fn told_briefly(view: &View, text: &str) -> Markup {
    html! {
        @match phrases::in_lang(text, view.lang) {
            Some(phrase) => (view.prose(&phrase)),
            None => span lang="en" { (view.prose(text)) },
        }
    }
}

/// The same of what happened: where nothing was written, or only in English, what such a thing means is said
/// first.
pub(super) fn told_of(view: &View, text: &str, means: Option<Text>) -> Markup {
    let is_told =
        !text.is_empty() && (view.lang == Lang::En || phrases::in_lang(text, view.lang).is_some());
    html! {
        @match means.filter(|_| !is_told) {
            None => (told(view, text)),
            Some(means) => {
                (view.t(means))
                @if !text.is_empty() { small .original lang="en" { (view.prose(text)) } }
            }
        }
    }
}

/// A message above a page's content.
pub(super) fn message(text: &str) -> Markup {
    html! { p .message role="status" { (text) } }
}

/// The ways on at the end of a list.
pub(super) fn ways_on(view: &View, start: Option<&str>, next: Option<&str>) -> Markup {
    html! {
        @if start.is_some() || next.is_some() {
            p .ways {
                @if let Some(start) = start { a href=(start) { (view.t(Text::ToTheStart)) } }
                @if let Some(next) = next { a rel="next" href=(next) { (view.t(Text::More)) } }
            }
        }
    }
}
