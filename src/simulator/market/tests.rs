//! The lives of codes, without any network.

use super::*;
use crate::domain::time::DAY_MS;

const START: Timestamp = Timestamp::from_ms(1_795_249_800_123);
const YEAR: Duration = Duration::from_hours(365 * 24);

fn bought(received: bool) -> (Market, Random, String) {
    let (mut market, mut ids) = (Market::default(), Random::new(1, 1));
    let purchase = Purchase { validity: YEAR, received, ..Purchase::default() };
    let license = market.buy(purchase, &mut ids, START).expect("a fresh code");
    (market, ids, license)
}

fn told(messages: &[Message]) -> Vec<String> {
    let word = |body: &str| {
        ["RENEWAL\"", "PERIOD\"", "\"FREEZE", "UNFREEZE", "release"]
            .into_iter()
            .rfind(|word| body.contains(word))
            .map(|word| word.trim_matches('"').to_owned())
    };
    messages.iter().filter_map(|message| word(&message.body)).collect()
}

#[test]
fn the_whole_life_of_a_code() {
    let (mut market, mut ids, pl) = bought(false);
    let code = |result: Result<&Code, Known>| result.map(|_| ()).map_err(|known| known.code);
    assert_eq!(code(market.activate(&pl, None, START)), Err("92020004"));
    assert_eq!(code(market.ask(&pl)), Err("92020011"));
    market.receive(&pl).expect("not yet received");
    assert_eq!(market.receive(&pl), Err(Refused::Received(pl.clone())));

    let later = START.plus_ms(3 * DAY_MS);
    let end = market.activate(&pl, None, later).expect("received").expires_at;
    assert_eq!(end, later + YEAR, "the validity counts from the activation");
    assert_eq!(code(market.activate(&pl, None, later)), Err("92020003"));

    let messages = market.renew(&pl, NewEnd::Add(DAY_MS), None, &mut ids, later);
    assert_eq!(told(&messages.expect("live")), ["RENEWAL"]);
    let messages = market.unrenew(&pl, None, &mut ids, later);
    assert_eq!(told(&messages.expect("renewed")), ["PERIOD"]);
    assert_eq!(market.code(&pl).expect("there").expires_at, end);
    assert!(market.unrenew(&pl, None, &mut ids, later).is_err(), "nothing left to give back");

    assert_eq!(market.ask(&pl).expect("active").status(end.plus_ms(-1)), Some("ALIVE"));
    assert_eq!(market.ask(&pl).expect("active").status(end), Some("EXPIRED"));
    assert_eq!(told(&market.freeze(&pl, end).expect("live")), ["FREEZE"]);
    let messages = market.renew(&pl, NewEnd::Add(DAY_MS), None, &mut ids, end).expect("live");
    assert_eq!(told(&messages), ["RENEWAL", "UNFREEZE"]);
    assert_eq!(market.ask(&pl).expect("active").status(end), Some("ALIVE"));

    let messages = market.refund(&pl, &mut ids, end).expect("live");
    assert!(messages[0].body.contains("orderId"), "{}", messages[0].body);
    assert_eq!(market.ask(&pl).expect("known").status(end), Some("RELEASED"));
    assert_eq!(code(market.activate(&pl, None, end)), Err("92020003"));
    assert_eq!(market.receive(&pl), Err(Refused::Released(pl)));
}

#[test]
fn a_violation_is_not_lifted_by_paying_and_reads_alive() {
    let (mut market, mut ids, pl) = bought(true);
    market.activate(&pl, None, START).expect("received");
    market.freeze(&pl, START).expect("live");
    let messages = market.renew(&pl, NewEnd::Add(DAY_MS), None, &mut ids, START);
    assert_eq!(told(&messages.expect("live")), ["RENEWAL"]);
    assert_eq!(market.ask(&pl).expect("active").status(START), Some("ALIVE"));
    assert_eq!(told(&market.unfreeze(&pl).expect("frozen")), ["UNFREEZE"]);
    assert!(market.unfreeze(&pl).is_err());
}

#[test]
fn time_alone_freezes_after_the_grace_and_releases_after_the_retention() {
    let (mut market, _, pl) = bought(true);
    market.activate(&pl, None, START).expect("received");
    let (grace, retention) = (Duration::from_hours(48), Duration::from_hours(15 * 24));
    let end = START + YEAR;
    assert!(market.pass_time(grace, retention, end).is_empty());
    assert!(market.pass_time(Duration::ZERO, Duration::ZERO, end + 9 * grace).is_empty());
    let frozen = end + grace;
    assert_eq!(told(&market.pass_time(grace, retention, frozen)), ["FREEZE"]);
    assert!(market.pass_time(grace, retention, frozen).is_empty(), "told once");
    assert_eq!(told(&market.pass_time(grace, retention, frozen + retention)), ["release"]);
}

#[test]
fn the_effect_time_is_not_before_the_order() {
    let (mut market, _, pl) = bought(true);
    let before = START.plus_ms(-SECOND_MS);
    let refused = market.activate(&pl, Some(before), START).map(|_| ());
    assert_eq!(refused, Err(codes::INVALID_PARAMETER));
    let same_second = cut_to_second(START);
    let end = market.activate(&pl, Some(same_second), START).expect("in time").expires_at;
    assert_eq!(end, same_second + YEAR);
}
