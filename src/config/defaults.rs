//! What holds when a key is not written (product.md §6).

use super::{HttpUrl, SocketMode};
use crate::domain::alarm::Severity;
use crate::domain::language::Language;
use crate::domain::retry_window::FAILED_ORDERS_PER_MONTH;
use crate::domain::slots::{HeartbeatTimes, Zone};
use std::net::{Ipv4Addr, SocketAddr};

pub(super) fn callback_listen() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 8650))
}

pub(super) fn admin_listen() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 8651))
}

pub(super) fn software_listen() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 8652))
}

pub(super) fn callback_path() -> String {
    "/koogallery/callback".to_owned()
}

pub(super) fn orders_path() -> String {
    "/koogallery/orders".to_owned()
}

pub(super) const fn max_connections() -> usize {
    1024
}

pub(super) fn endpoints() -> Vec<HttpUrl> {
    ["https://mkt.myhuaweicloud.com", "https://mkt.myhuaweicloud.cn"]
        .into_iter()
        .filter_map(|text| HttpUrl::parse(text).ok())
        .collect()
}

pub(super) const fn utc() -> Zone {
    Zone::UTC
}

pub(super) const fn shanghai() -> Zone {
    Zone::SHANGHAI
}

pub(super) const fn requests_per_second() -> u32 {
    5
}

pub(super) const fn one() -> usize {
    1
}

pub(super) fn heartbeat() -> HeartbeatTimes {
    let times = ["08:00", "13:00"].into_iter().filter_map(|text| text.parse().ok());
    HeartbeatTimes::At(times.collect())
}

pub(super) const fn on_sale() -> bool {
    true
}

pub(super) const fn grace_hours() -> u32 {
    72
}

pub(super) const fn socket_mode() -> SocketMode {
    SocketMode::OWNER_AND_GROUP
}

pub(super) const fn new_codes_per_hour() -> u32 {
    10_000
}

pub(super) const fn lease_hours() -> u32 {
    24
}

pub(super) const fn failed_orders_per_month() -> u32 {
    FAILED_ORDERS_PER_MONTH
}

pub(super) const fn half_a_year() -> u32 {
    180
}

pub(super) const fn a_month() -> u32 {
    30
}

pub(super) const fn two_weeks() -> u32 {
    14
}

pub(super) const fn a_week_of_backups() -> u32 {
    7
}

pub(super) const fn hourly() -> u32 {
    1
}

pub(super) const fn six_hours() -> u32 {
    6
}

pub(super) const fn a_day_of_hours() -> u32 {
    24
}

pub(super) const fn settle_minutes() -> u32 {
    5
}

pub(super) const fn every_severity() -> Severity {
    Severity::Warning
}

pub(super) const fn chinese() -> Language {
    Language::Zh
}
