//! All that happened to a code, from two tables in one line: events, and callbacks with their verdicts.
//!
//! Invariant: pages go on where the one before ended in each table, so that nothing is shown twice or left out
//! while more is being written.

use super::layout::{told, verdict_mark};
use super::texts::Text;
use super::view::View;
use super::words;
use crate::domain::license::Code;
use crate::domain::state::State;
use crate::store::{CallbackFilter, CallbackRow, EventFilter, EventRow, Snapshot, StoreError};
use maud::{Markup, html};

/// Something that happened.
pub(super) enum Entry {
    Event(EventRow),
    Callback(CallbackRow),
}

/// Where a page begins: below these ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cursor {
    event: Option<i64>,
    callback: Option<i64>,
}

/// A page of what happened, the newest first.
pub(super) struct Timeline {
    pub(super) entries: Vec<Entry>,
    pub(super) next: Option<Cursor>,
}

impl Cursor {
    /// As it stands in an address: `event.callback`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (event, callback) = text.split_once('.')?;
        let id = |text: &str| match text {
            "" => Some(None),
            text => text.parse().ok().map(Some),
        };
        Some(Self { event: id(event)?, callback: id(callback)? })
    }

    pub(super) fn text(self) -> String {
        let id = |id: Option<i64>| id.map_or_else(String::new, |id| id.to_string());
        format!("{}.{}", id(self.event), id(self.callback))
    }
}

impl Timeline {
    /// Reads one page of at most `limit` entries.
    pub(super) fn read(
        snapshot: &Snapshot<'_>,
        code: &Code,
        from: Cursor,
        limit: usize,
    ) -> Result<Self, StoreError> {
        let code = Some(code.as_str().to_owned());
        let events = snapshot.events(&EventFilter {
            code: code.clone(),
            below: from.event,
            limit: limit + 1,
            ..EventFilter::default()
        })?;
        let callbacks = snapshot.callbacks(&CallbackFilter {
            code,
            below: from.callback,
            limit: limit + 1,
            ..CallbackFilter::default()
        })?;
        Ok(Self::merge(events, callbacks, from, limit))
    }

    fn merge(
        events: Vec<EventRow>,
        callbacks: Vec<CallbackRow>,
        from: Cursor,
        limit: usize,
    ) -> Self {
        let (mut events, mut callbacks) =
            (events.into_iter().peekable(), callbacks.into_iter().peekable());
        let (mut entries, mut at) = (Vec::new(), from);
        while entries.len() < limit {
            let event_is_next = match (events.peek(), callbacks.peek()) {
                (None, None) => break,
                // A callback is stored with its events and stands below them: it is their cause.
                (Some(event), Some(callback)) => event.at >= callback.received_at,
                (event, _) => event.is_some(),
            };
            if event_is_next {
                let event = events.next();
                at.event = event.as_ref().map(|row| row.id).or(at.event);
                entries.extend(event.map(Entry::Event));
            } else {
                let callback = callbacks.next();
                at.callback = callback.as_ref().map(|row| row.id).or(at.callback);
                entries.extend(callback.map(Entry::Callback));
            }
        }
        let more = events.peek().is_some() || callbacks.peek().is_some();
        Self { entries, next: more.then_some(at) }
    }
}

impl Entry {
    /// A row of the table: when, what, from which side, what changed, what was answered, and the rest.
    pub(super) fn row(&self, view: &View) -> Markup {
        match self {
            Self::Event(row) => event_row(view, row),
            Self::Callback(row) => callback_row(view, row),
        }
    }

    #[cfg(test)]
    fn name(&self) -> String {
        match self {
            Self::Event(row) => format!("e{}", row.id),
            Self::Callback(row) => format!("c{}", row.id),
        }
    }
}

fn event_row(view: &View, row: &EventRow) -> Markup {
    let state = |word: &str| State::parse(word).map(words::state);
    html! {
        tr class={ "kind-" (row.kind) } {
            td { (view.time(row.at)) }
            td { (view.word(words::kind(&row.kind), &row.kind)) }
            td { (view.word(words::source(&row.source), &row.source)) }
            td {
                @match (&row.from, &row.to) {
                    (Some(from), Some(to)) => {
                        (view.word(state(from), from)) " → " (view.word(state(to), to))
                    }
                    (None, Some(to)) => { "→ " (view.word(state(to), to)) }
                    (_, None) => (view.t(Text::Nothing)),
                }
            }
            td { code { (view.maybe(row.result_code.as_deref())) } }
            td {
                @if let Some(order) = &row.order_id { (view.t(Text::Order)) " " code { (order) } " " }
                (told(&row.detail))
            }
        }
    }
}

fn callback_row(view: &View, row: &CallbackRow) -> Markup {
    html! {
        tr .kind-callback {
            td { (view.time(row.received_at)) }
            td { a href={ "/callbacks/" (row.id) } { (view.t(Text::Callback)) " " (row.id) } }
            td { (view.t(Text::SourceCallback)) }
            td { (view.word(words::activity(&row.activity), &row.activity)) " " (verdict_mark(view, &row.verdict)) }
            td { code { (row.result_code) } }
            td { (told(&row.detail)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    fn event(id: i64, at: i64) -> EventRow {
        EventRow {
            id,
            at: Timestamp::from_ms(at),
            code: None,
            kind: String::new(),
            source: String::new(),
            from: None,
            to: None,
            order_id: None,
            result_code: None,
            detail: String::new(),
            hash: [0; 32],
            request_id: None,
        }
    }

    fn callback(id: i64, at: i64) -> CallbackRow {
        CallbackRow {
            id,
            received_at: Timestamp::from_ms(at),
            activity: String::new(),
            code: None,
            test: false,
            signed_at: None,
            verdict: String::new(),
            result_code: String::new(),
            detail: String::new(),
            duration_ms: 0,
            doctor: None,
            body: Vec::new(),
            request_id: None,
            head: None,
            reply: None,
            clock_skew_ms: None,
            hash: [0; 32],
        }
    }

    fn names(timeline: &Timeline) -> Vec<String> {
        timeline.entries.iter().map(Entry::name).collect()
    }

    #[test]
    fn two_tables_are_one_line_and_its_pages_neither_repeat_nor_lose() {
        let events: Vec<_> =
            [(9, 50), (7, 30), (6, 30), (2, 10)].map(|(id, at)| event(id, at)).into();
        let callbacks: Vec<_> = [(4, 40), (3, 30), (1, 5)].map(|(id, at)| callback(id, at)).into();
        let whole = Timeline::merge(events.clone(), callbacks.clone(), Cursor::default(), 100);
        assert_eq!(names(&whole), ["e9", "c4", "e7", "e6", "c3", "e2", "c1"]);
        assert_eq!(whole.next, None);
        for limit in 1..=7 {
            let (mut seen, mut from) = (Vec::new(), Cursor::default());
            loop {
                let below = |id: i64, bound: Option<i64>| bound.is_none_or(|bound| id < bound);
                let page = Timeline::merge(
                    events.iter().filter(|row| below(row.id, from.event)).cloned().collect(),
                    callbacks.iter().filter(|row| below(row.id, from.callback)).cloned().collect(),
                    from,
                    limit,
                );
                seen.extend(names(&page));
                match page.next {
                    Some(next) => from = Cursor::parse(&next.text()).expect("its own text"),
                    None => break,
                }
            }
            assert_eq!(seen, names(&whole), "pages of {limit}");
        }
        assert_eq!(Cursor::parse("x"), None);
        assert_eq!(Cursor::parse("1.x"), None);
    }
}
