//! The desk: buying codes, and everything that a buyer, a seller or the marketplace does to one.
//!
//! Invariant: an act and the calls it causes are one change; a silent act causes none.

use super::answer::Answer;
use super::code::{NewEnd, Purchase, Refused};
use super::console::{Denied, body, limit};
use super::message::{Message, TestFlag};
use super::server::Arrived;
use super::state::{Shared, State};
use super::view;
use crate::domain::time::{DateText, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// The validity of a code when nobody says another.
const YEAR: Duration = Duration::from_hours(365 * 24);
/// The most codes that are issued by one request.
const ISSUE_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssueBody {
    license: Option<String>,
    validity_seconds: Option<u32>,
    expire_time: Option<String>,
    #[serde(default)]
    received: bool,
    product_id: Option<String>,
    amount: Option<u32>,
    count: Option<usize>,
    #[serde(default)]
    order_notify: bool,
}

/// The buyer buys one code or many.
pub(super) async fn issue(shared: &Shared, request: &Arrived) -> Result<Answer, Denied> {
    let body: IssueBody = body(request)?;
    let count = body.count.unwrap_or(1);
    if !(1..=ISSUE_MAX).contains(&count) || (count > 1 && body.license.is_some()) {
        return Err(Denied::Value("`count` is 1 to 10000, and goes without `license`"));
    }
    let purchase = Purchase {
        license: body.license,
        expires_at: instant(body.expire_time.as_deref())?,
        validity: body.validity_seconds.map_or(YEAR, |s| Duration::from_secs(s.into())),
        product_id: body.product_id,
        amount: body.amount.unwrap_or(1),
        received: body.received,
    };
    let now = shared.pace.now();
    let buy_all = |state: &mut State| {
        let mut licenses = Vec::with_capacity(count);
        for _ in 0..count {
            let kept = &mut state.kept;
            let license = kept.market.buy(purchase.clone(), &mut kept.ids, now)?;
            let bought = kept.market.code(&license).filter(|_| body.order_notify);
            let notice = bought.map(|code| Message::order_notify(&code.order, TestFlag::Real));
            shared.tell(state, notice.into_iter().collect());
            licenses.push(license);
        }
        Ok::<_, Refused>(licenses)
    };
    let licenses = shared.change(buy_all).await?;
    let answer = match &licenses[..] {
        [one] if body.count.is_none() => show(shared, one)?,
        all => json!({"licenses": all}),
    };
    Ok(Answer::console(201, &answer))
}

/// One code.
pub(super) fn show(shared: &Shared, license: &str) -> Result<Value, Denied> {
    let now = shared.pace.now();
    let shown =
        shared.look(|state| state.kept.market.code(license).map(|code| view::code(code, now)));
    shown.ok_or_else(|| Refused::Unknown(license.to_owned()).into())
}

/// The codes in the order of their names.
pub(super) fn list(shared: &Shared, request: &Arrived) -> Result<Value, Denied> {
    let (limit, now) = (limit(request)?, shared.pace.now());
    let after = request.parameter("after").unwrap_or_default();
    Ok(shared.look(|state| {
        let mut codes = state.kept.market.codes_after(after);
        let items: Vec<Value> =
            codes.by_ref().take(limit).map(|code| view::code(code, now)).collect();
        let next = codes.next().and(items.last()).map(|last| last["license"].clone());
        json!({"items": items, "next": next})
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ActBody {
    seconds: Option<u32>,
    expire_time: Option<String>,
    product_id: Option<String>,
    /// The marketplace changes its mind but tells nobody: a lost call.
    #[serde(default)]
    silent: bool,
    /// Tell in the opposite order.
    #[serde(default)]
    reversed: bool,
}

/// One act of the buyer, the seller or the marketplace on a code; the code afterwards.
pub(super) async fn perform(
    shared: &Shared,
    request: &Arrived,
    license: &str,
    act: &str,
) -> Result<Value, Denied> {
    let body: ActBody = body(request)?;
    let (end, now) = (instant(body.expire_time.as_deref())?, shared.pace.now());
    let added = body.seconds.map_or(YEAR, |s| Duration::from_secs(s.into()));
    let added = i64::try_from(added.as_millis()).unwrap_or(i64::MAX);
    let perform = |state: &mut State| {
        let (market, ids) = (&mut state.kept.market, &mut state.kept.ids);
        let mut messages = match act {
            "receive" => market.receive(license).map(|()| Vec::new())?,
            "renew" => {
                let end = end.map_or(NewEnd::Add(added), NewEnd::At);
                market.renew(license, end, body.product_id.as_deref(), ids, now)?
            }
            "unrenew" => market.unrenew(license, end, ids, now)?,
            "freeze" => market.freeze(license, now)?,
            "unfreeze" => market.unfreeze(license)?,
            "refund" => market.refund(license, ids, now)?,
            "expire" => market.expire(license, now).map(|()| Vec::new())?,
            "release" => market.release(license)?,
            _ => return Err(Denied::NoSuchPath),
        };
        if body.reversed {
            messages.reverse();
        }
        if !body.silent {
            shared.tell(state, messages);
        }
        Ok(())
    };
    shared.change(perform).await?;
    show(shared, license)
}

fn instant(text: Option<&str>) -> Result<Option<Timestamp>, Denied> {
    text.map(|text| DateText::parse(text).map(|text| text.utc())).transpose().map_err(|_| {
        Denied::Value("`expire_time` is yyyyMMddHHmmss in UTC, such as 20270101000000")
    })
}
