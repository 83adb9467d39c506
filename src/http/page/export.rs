//! Codes as CSV, read and sent part by part, so that a million of them take no more memory than a thousand.

use crate::domain::time::Timestamp;
use crate::http::csv::{LICENSE_FIELDS, csv_line};
use crate::http::problem::Answer;
use crate::http::reply_body::ReplyBody;
use crate::http::shapes;
use crate::store::{LicenseFilter, LicenseRow, LicenseSort, Store, StoreError};
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use std::io;
use tokio::sync::mpsc;

/// Codes that are read at once.
pub(super) const AT_ONCE: usize = 1_000;
/// Parts that wait for a slow reader.
const AHEAD: usize = 2;

/// All codes of `filter`, by code. They come as they are when each part is read.
pub(super) fn licenses(store: &Store, filter: LicenseFilter, now: Timestamp) -> Answer {
    let (parts, receiver) = mpsc::channel(AHEAD);
    let store = store.clone();
    let filter = LicenseFilter { sort: LicenseSort::Code, after: None, after_key: None, ..filter };
    tokio::spawn(async move {
        if let Err(error) = send(&store, filter, now, &parts).await {
            tracing::error!(%error, "an export broke off");
            drop(parts.send(Err(io::Error::other("the database could not be read"))).await);
        }
    });
    let mut answer = Answer::new(ReplyBody::Parts(receiver));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    let name = HeaderValue::from_static("attachment; filename=\"licenses.csv\"");
    headers.insert(CONTENT_DISPOSITION, name);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Sends page after page, until the end or until nobody reads any more.
async fn send(
    store: &Store,
    mut filter: LicenseFilter,
    now: Timestamp,
    parts: &mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), StoreError> {
    let mut text = csv_line(LICENSE_FIELDS);
    loop {
        let page = filter.clone();
        let rows = store.list(move |snapshot| snapshot.licenses(&page)).await?;
        for row in &rows {
            text.push_str(&line(row, now));
        }
        if parts.send(Ok(Bytes::from(std::mem::take(&mut text)))).await.is_err() {
            return Ok(());
        }
        match rows.last() {
            Some(last) if rows.len() == filter.limit => {
                filter.after = Some(last.license.code.as_str().to_owned());
            }
            Some(_) | None => return Ok(()),
        }
    }
}

fn line(row: &LicenseRow, now: Timestamp) -> String {
    let shown = shapes::license(row, now);
    csv_line(LICENSE_FIELDS.map(|field| shown[field].as_str().unwrap_or_default()))
}
