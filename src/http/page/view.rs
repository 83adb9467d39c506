//! How a viewer sees: the language, the time zone, the time now, and the session's token for forms.

use super::texts::{Lang, Text};
use crate::domain::slots::Zone;
use crate::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, Timestamp};
use maud::{Markup, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// One viewer, asking for one page.
#[derive(Debug, Clone)]
pub(super) struct View {
    /// The language of the texts.
    pub(super) lang: Lang,
    /// The zone of all times.
    pub(super) zone: Zone,
    /// The daemon's clock.
    pub(super) now: Timestamp,
    /// What the session's forms carry; `None` for whoever is not signed in.
    pub(super) form_token: Option<String>,
    /// Path and query of the page, to come back to.
    pub(super) here: String,
}

impl View {
    /// A text in the viewer's language.
    pub(super) const fn t(&self, text: Text) -> &'static str {
        text.in_lang(self.lang)
    }

    /// A word of the vocabulary; one that is not known is shown as it is stored.
    pub(super) fn word<'a>(&self, text: Option<Text>, stored: &'a str) -> &'a str {
        text.map_or(stored, |text| self.t(text))
    }

    /// An instant in the viewer's zone, which every page names.
    pub(super) fn time(&self, at: Timestamp) -> Markup {
        html! { time datetime=(at.to_string()) { (self.zone.date_time(at)) } }
    }

    /// The same of what may not be known.
    pub(super) fn maybe_time(&self, at: Option<Timestamp>) -> Markup {
        at.map_or_else(|| html! { (self.t(Text::Nothing)) }, |at| self.time(at))
    }

    /// A text that may be absent.
    pub(super) fn maybe<'a>(&self, text: Option<&'a str>) -> &'a str {
        text.filter(|text| !text.is_empty()).unwrap_or_else(|| self.t(Text::Nothing))
    }

    /// How long it has been since `at`, in its two greatest units.
    pub(super) fn since(&self, at: Timestamp) -> String {
        let ms = self.now.ms_since(at).max(0);
        let (days, hours, minutes) = (ms / DAY_MS, ms % DAY_MS / HOUR_MS, ms % HOUR_MS / MINUTE_MS);
        let unit = |n: i64, unit| format!("{n} {}", self.t(unit));
        match (days, hours) {
            (0, 0) => unit(minutes, Text::Minutes),
            (0, _) => format!("{} {}", unit(hours, Text::Hours), unit(minutes, Text::Minutes)),
            (_, _) => format!("{} {}", unit(days, Text::Days), unit(hours, Text::Hours)),
        }
    }

    /// The zone with its distance from UTC now.
    pub(super) fn zone_name(&self) -> String {
        format!("{} (UTC{})", self.zone, self.zone.offset(self.now))
    }

    /// What every form that changes something carries.
    pub(super) fn token_field(&self) -> Markup {
        html! {
            @if let Some(token) = &self.form_token {
                input type="hidden" name="form" value=(token);
            }
        }
    }
}

/// One part of a path or query, with everything but letters and digits escaped.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// The path of a code's page.
pub(super) fn license_path(code: &str) -> String {
    format!("/licenses/{}", encoded(code))
}

/// `path?name=value&…` of the parameters that have a value.
pub(super) fn with_query(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut joint = '?';
    let mut text = path.to_owned();
    for (name, value) in parameters {
        if let Some(value) = value {
            text.push(joint);
            text.push_str(name);
            text.push('=');
            text.push_str(&encoded(value));
            joint = '&';
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(lang: Lang) -> View {
        let now = Timestamp::from_ms(1_795_249_800_000);
        View { lang, zone: Zone::SHANGHAI, now, form_token: None, here: "/".to_owned() }
    }

    #[test]
    fn times_are_in_the_viewers_zone() {
        let mut view = view(Lang::En);
        let shown = view.time(view.now).into_string();
        assert_eq!(shown, "<time datetime=\"2026-11-21T08:30:00.000Z\">2026-11-21 16:30:00</time>");
        assert_eq!(view.zone_name(), "Asia/Shanghai (UTC+08:00)");
        view.zone = "America/St_Johns".parse().expect("a zone");
        assert_eq!(view.zone_name(), "America/St_Johns (UTC-03:30)");
    }

    #[test]
    fn an_age_has_its_two_greatest_units() {
        let view = view(Lang::En);
        let age = |ms: i64| view.since(view.now.plus_ms(-ms));
        assert_eq!(age(-5), "0 min");
        assert_eq!(age(59 * MINUTE_MS), "59 min");
        assert_eq!(age(HOUR_MS + MINUTE_MS), "1 h 1 min");
        assert_eq!(age(3 * DAY_MS + 5 * HOUR_MS), "3 d 5 h");
    }

    #[test]
    fn what_goes_into_a_path_is_escaped() {
        assert_eq!(license_path("a/b?c"), "/licenses/a%2Fb%3Fc");
        let query = [("state", None), ("text", Some("a&b")), ("cursor", Some("1 x"))];
        assert_eq!(with_query("/licenses", &query), "/licenses?text=a%26b&cursor=1%20x");
    }
}
