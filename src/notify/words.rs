//! The words of messages: what each kind of alarm is called, in Chinese and English.

use crate::domain::alarm::{Phase, Severity};
use crate::domain::language::Language;
use crate::store::AlarmFacts;

/// Each kind of alarm: its word, its name in Chinese and in English, and what to do in Chinese. A kind that
/// does not stand here is told by its word and the remedy that its alarm carries.
pub const KINDS: &[(&str, &str, &str, &str)] = &[
    (
        "heartbeat",
        "可用性心跳未通过",
        "the availability heartbeat failed",
        "运行 authcoded probe list，修复未通过的步骤，再运行 authcoded probe run",
    ),
    (
        "marketplace_stop",
        "云商店拒绝了访问密钥",
        "the marketplace refused our access key",
        "检查时钟，再检查控制台中的 AK、SK 及其文件；再被拒绝五次密钥会被锁定",
    ),
    (
        "marketplace_away",
        "云商店无法访问",
        "the marketplace cannot be reached",
        "授权码按已知状态继续运行；检查 DNS、防火墙和云商店公告",
    ),
    (
        "clock",
        "系统时钟偏差",
        "the clock is wrong",
        "修复时间同步：偏差达到 60 秒时所有回调都会被拒绝",
    ),
    (
        "orphans",
        "有回调等待核实",
        "callbacks wait for the marketplace",
        "云商店无法访问时无需处理；否则运行 authcoded callback list",
    ),
    (
        "orders_awaited",
        "已购订单的授权码未登记",
        "the code of an order does not come",
        "运行 authcoded order list --state awaited，请买家领取并交付授权码",
    ),
    (
        "contradiction",
        "授权码状态矛盾",
        "a contradiction about a code",
        "运行 authcoded license show，与卖家中心比对",
    ),
    (
        "strange_answer",
        "云商店返回了未知内容",
        "the marketplace sent something unknown",
        "未因此改变任何状态；请查看云商店文档是否更新，并告知 authcoded 的维护者",
    ),
    (
        "usage_failed",
        "用量上报被放弃",
        "usage was given up",
        "运行 authcoded usage list --state failed，并查看授权码历史",
    ),
    (
        "usage_waiting",
        "用量上报未送达",
        "usage does not get through",
        "查看日志中 api 为 usage 的 marketplace call，再运行 authcoded job run usage",
    ),
    (
        "notify_failed",
        "告警消息无法送达",
        "messages do not get through",
        "修复该通道，再运行 authcoded alarm test；三天内会继续重试",
    ),
    (
        "delisting",
        "拨测连续失败",
        "the dial test fails day after day",
        "运行 authcoded guard 与 authcoded probe run，立即修复；连续五天失败将冻结交易",
    ),
    (
        "dial_test_missing",
        "未见到拨测",
        "no dial test was seen",
        "检查公网地址、反向代理与卖家中心的绑定；未在售时设置 guard.on-sale = false",
    ),
    (
        "restart_list",
        "有回调被云商店放弃",
        "calls were given up",
        "运行 authcoded guard，在卖家中心 > 生产接口消息 中重新启动",
    ),
    (
        "retry_windows",
        "回调失败并在重试",
        "calls fail and are repeated",
        "首次失败后两小时内修复原因：运行 authcoded guard 并查看日志",
    ),
    (
        "failed_orders",
        "本月失败订单",
        "orders failed this month",
        "运行 authcoded guard，修复原因并重新启动失败的调用",
    ),
    (
        "deaf",
        "可能漏收回调",
        "calls may have been missed",
        "等待对账完成：运行 authcoded guard 与 authcoded job list",
    ),
    (
        "signature",
        "签名校验未通过",
        "signatures do not hold",
        "运行 authcoded callback list --verdict refused，再用 callback show 查看原因与处理办法",
    ),
    ("clock_jump", "系统时钟跳变", "the wall clock jumped", "检查时间同步，以及机器是否被挂起"),
    ("certificate", "证书即将到期", "a certificate ends soon", "更新证书并检查自动续期"),
    (
        "disk_space",
        "磁盘空间不足",
        "the disk is filling up",
        "释放 data-dir 所在磁盘的空间：写满后所有回调都会被回复 000005",
    ),
    ("writer_queue", "写入队列过长", "the writer does not keep up", "检查磁盘速度与占用"),
    (
        "refusals",
        "大量回调被拒绝",
        "many callbacks are refused",
        "运行 authcoded callback list --verdict refused",
    ),
    (
        "silence",
        "状态已变而未收到回调",
        "changes came without a callback",
        "在卖家中心查看 生产接口消息，运行 authcoded probe run",
    ),
    (
        "key_files",
        "密钥文件已更改",
        "key files were changed",
        "重新加载或重启 authcoded，使新密钥生效",
    ),
    ("test", "测试消息", "a test message", "无需处理：告警会送达这里"),
];

fn of(kind: &str) -> Option<&'static (&'static str, &'static str, &'static str, &'static str)> {
    KINDS.iter().find(|(word, ..)| *word == kind)
}

/// What a kind of alarm is called.
pub(super) fn title(kind: &str, language: Language) -> String {
    match (of(kind), language) {
        (Some((_, zh, _, _)), Language::Zh) => (*zh).to_owned(),
        (Some((_, _, en, _)), Language::En) => (*en).to_owned(),
        (None, Language::Zh | Language::En) => kind.replace('_', " "),
    }
}

/// What to do about it.
pub(super) fn remedy(facts: &AlarmFacts, language: Language) -> &str {
    match (of(&facts.kind), language) {
        (Some((_, _, _, zh)), Language::Zh) => zh,
        (Some(_) | None, Language::Zh | Language::En) => &facts.what_to_do,
    }
}

pub(super) const fn severity_word(severity: Severity, language: Language) -> &'static str {
    match (language, severity) {
        (Language::Zh, Severity::Warning) => "警告",
        (Language::Zh, Severity::High) => "高",
        (Language::Zh, Severity::Emergency) => "紧急",
        (Language::En, severity) => severity.as_str(),
    }
}

pub(super) const fn phase_word(phase: Option<Phase>, language: Language) -> &'static str {
    match (language, phase) {
        (Language::Zh, Some(Phase::Raised)) => "新出现",
        (Language::Zh, Some(Phase::Worse)) => "更严重",
        (Language::Zh, Some(Phase::Reminder)) => "仍未恢复",
        (Language::Zh, Some(Phase::Over)) => "已恢复",
        (Language::Zh, None) => "测试",
        (Language::En, Some(Phase::Raised)) => "raised",
        (Language::En, Some(Phase::Worse)) => "worse",
        (Language::En, Some(Phase::Reminder)) => "still there",
        (Language::En, Some(Phase::Over)) => "over",
        (Language::En, None) => "test",
    }
}
