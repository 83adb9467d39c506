//! The list of codes: search, filter, order, pages, and the same as CSV.

use super::answers::{self, Away};
use super::layout::{Tab, code_link, state_mark, table, ways_on};
use super::texts::Text;
use super::view::{View, with_query};
use super::{Page, export, words};
use crate::domain::state::State;
use crate::http::admin;
use crate::http::body::Query;
use crate::http::problem::{Answer, Problem};
use crate::store::{LicenseFilter, LicenseRow, LicenseSort};
use maud::{Markup, html};

/// The orders, with their words in the address.
const SORTS: [(LicenseSort, &str, Text); 3] = [
    (LicenseSort::Code, "code", Text::SortCode),
    (LicenseSort::Expiry, "expiry", Text::SortExpiry),
    (LicenseSort::Newest, "newest", Text::SortNewest),
];
const PER_PAGE: [usize; 3] = [50, 100, 1_000];

/// What is asked for, as the address has it.
struct Asked {
    state: Option<State>,
    text: Option<String>,
    sort: LicenseSort,
    limit: usize,
    /// The key and the code that the page before ended with.
    after: Option<(i64, String)>,
}

impl Page {
    pub(super) async fn licenses(&self, view: &View, query: Option<&str>) -> Result<Answer, Away> {
        let query = Query::parse(query, &["state", "text", "sort", "limit", "cursor", "format"])?;
        let asked = Asked::parse(&query)?;
        if query.get("format") == Some("csv") {
            let filter = LicenseFilter { limit: export::AT_ONCE, ..asked.filter() };
            return Ok(export::licenses(&self.lifecycle.store, filter, view.now));
        }
        let filter = LicenseFilter { limit: asked.limit + 1, ..asked.filter() };
        let mut rows = self.lifecycle.store.list(move |s| s.licenses(&filter)).await?;
        let more = rows.len() > asked.limit;
        rows.truncate(asked.limit);
        let next = rows.last().filter(|_| more).map(|row| asked.after_page(row));
        let start = asked.after.as_ref().map(|_| asked.address(None));
        let content = html! {
            (asked.form(view))
            @if rows.is_empty() { p { (view.t(Text::NoCodesFound)) } } @else { (list(view, &rows)) }
            (ways_on(view, start.as_deref(), next.as_deref()))
            p { a href=(asked.csv_address()) { (view.t(Text::ExportCsv)) } }
        };
        Ok(answers::page(view, view.t(Text::Licenses), Some(Tab::Licenses), &content))
    }
}

impl Asked {
    fn parse(query: &Query) -> Result<Self, Problem> {
        let sort = query.get("sort").map_or(Some(LicenseSort::Code), |word| {
            SORTS.iter().find(|(_, name, _)| *name == word).map(|(sort, ..)| *sort)
        });
        let cursor = query.get("cursor").map(|text| {
            let place =
                text.split_once(' ').and_then(|(key, code)| Some((key.parse().ok()?, code)));
            place.map(|(key, code)| (key, code.to_owned()))
        });
        let wrong = |what| Problem::bad_request(format!("{what} is none of this page's"));
        Ok(Self {
            state: admin::state(query)?,
            text: query.text("text").map(|text| text.trim().to_owned()),
            sort: sort.ok_or_else(|| wrong("sort"))?,
            limit: admin::limit(query)?,
            after: cursor.map(|place| place.ok_or_else(|| wrong("cursor"))).transpose()?,
        })
    }

    fn filter(&self) -> LicenseFilter {
        LicenseFilter {
            state: self.state,
            text: self.text.clone(),
            sort: self.sort,
            after: self.after.as_ref().map(|(_, code)| code.clone()),
            after_key: self.after.as_ref().map(|(key, _)| *key),
            ..LicenseFilter::default()
        }
    }

    fn sort_word(&self) -> &'static str {
        SORTS.iter().find(|(sort, ..)| *sort == self.sort).map_or("code", |(_, word, _)| word)
    }

    fn address(&self, cursor: Option<&str>) -> String {
        let limit = self.limit.to_string();
        with_query(
            "/licenses",
            &[
                ("state", self.state.map(State::as_str)),
                ("text", self.text.as_deref()),
                ("sort", Some(self.sort_word())),
                ("limit", Some(&limit)),
                ("cursor", cursor),
            ],
        )
    }

    /// The page after one that ends with `row`.
    fn after_page(&self, row: &LicenseRow) -> String {
        let key = self.sort.key_of(&row.license);
        self.address(Some(&format!("{key} {}", row.license.code)))
    }

    /// All that is asked for, not only this page of it.
    fn csv_address(&self) -> String {
        let state = self.state.map(State::as_str);
        let query = [("format", Some("csv")), ("state", state), ("text", self.text.as_deref())];
        with_query("/licenses", &query)
    }

    fn form(&self, view: &View) -> Markup {
        html! {
            form .filters role="search" method="get" action="/licenses" {
                label for="text" { (view.t(Text::CodeOrderOrNoteContains)) }
                input #text name="text" type="search" value=(self.text.as_deref().unwrap_or(""));
                label for="state" { (view.t(Text::State)) }
                select #state name="state" {
                    option value="" { (view.t(Text::AnyState)) }
                    @for state in State::ALL {
                        option value=(state.as_str()) selected[self.state == Some(state)] {
                            (view.t(words::state(state)))
                        }
                    }
                }
                label for="sort" { (view.t(Text::SortBy)) }
                select #sort name="sort" {
                    @for (sort, word, text) in SORTS {
                        option value=(word) selected[self.sort == sort] { (view.t(text)) }
                    }
                }
                label for="limit" { (view.t(Text::PerPage)) }
                select #limit name="limit" {
                    @for n in PER_PAGE { option value=(n) selected[self.limit == n] { (n) } }
                }
                button { (view.t(Text::Show)) }
            }
        }
    }
}

fn list(view: &View, rows: &[LicenseRow]) -> Markup {
    let body = html! {
        @for row in rows {
            @let license = &row.license;
            tr {
                td { (code_link(view, Some(license.code.as_str()))) }
                td { (state_mark(view, license.state())) }
                td { (view.maybe_time(license.expiry.map(|expiry| expiry.at))) }
                td { (view.t(words::status(license.marketplace_status))) }
                td { (view.time(license.registered_at)) }
                td { code { (view.maybe(license.last_error_code.as_deref())) } }
                td { (view.maybe(license.note.as_deref())) }
            }
        }
    };
    let columns = [
        Text::Code,
        Text::State,
        Text::Expires,
        Text::MarketplaceSays,
        Text::Registered,
        Text::LastError,
        Text::Note,
    ];
    table(view, &columns, &body)
}
