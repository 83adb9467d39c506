//! What the daemon writes for people, which it writes in English, as it is told in Chinese.
//!
//! Invariant: what the book does not hold is shown as it is stored, and what people wrote is never changed: only
//! a part marked for it is looked up in turn.

use super::texts::Lang;

/// A sentence as it is stored, and in Chinese. `{}` stands for anything; in Chinese it is that part, counted
/// from 0, as it is: `{0}`, or told in Chinese in turn: `<0>`.
type Phrase = (&'static str, &'static str);

/// What happened to codes.
const EVENTS: &[Phrase] = &[
    (
        "{} signed at {} is older than the one applied, signed at {}",
        "<0> 的签名时间 {1} 早于已处理的那一次（{2}），未生效",
    ),
    (
        "the marketplace says the buyer has not received the code yet",
        "云商店称买家尚未领取该授权码",
    ),
    ("no renewal is left", "已没有生效的续费"),
    ("a renewal came before the activation", "激活之前已收到续费"),
    ("valid until {} (no zone given)", "有效期至 {0}（未注明时区）"),
    (
        "expiry {} here, {} at the marketplace: taken over",
        "本地的到期为 {0}，云商店的为 {1}：已改用云商店的",
    ),
    ("the marketplace says the code has expired", "云商店确认该授权码已到期"),
    ("waiting until the buyer receives the code; next try at {}", "等待买家领取；下次尝试：{0}"),
    ("the freeze was lifted", "冻结已解除"),
    (
        "the marketplace says the code is alive again, with a later expiry",
        "云商店称该授权码重新有效，且到期时间更晚",
    ),
    (
        "{} does not fit state {}: nothing was changed; compare with the seller's console",
        "<0> 与状态“<1>”不符：什么都没有改变；请与卖家中心比对",
    ),
    ("ordered: {}; reason given: {}", "已下令：<0>；原因：{1}"),
    ("ordered: {}", "已下令：<0>"),
    ("reason given: {}", "原因：{0}"),
    ("known to the marketplace, but not to us until now", "云商店有该授权码，本地此前没有"),
    (
        "the marketplace released this code, which we never held, and now calls it ALIVE",
        "云商店释放过这个本地从未有过的授权码，现在又称其有效",
    ),
    (
        "a callback named this code, which neither we nor the marketplace know: ask its operations",
        "有回调提到该授权码，而本地和云商店都没有它：请联系云商店运营",
    ),
    (
        "neither we nor the marketplace know this code: ask its operations",
        "本地和云商店都没有该授权码：请联系云商店运营",
    ),
    (
        "the answer to {} held an unknown {}: {}, as in {}",
        "对 {0} 的答复中有未知的 {1}：{2}，例如 {3}",
    ),
    (
        "the marketplace does not take its usage ({}): {} entries are sent again at {}",
        "云商店未接受其用量（{0}）：{1} 条将于 {2} 重新发送",
    ),
    (
        "the marketplace does not take its usage ({}): {} entries are given up",
        "云商店不接受其用量（{0}）：{1} 条已放弃",
    ),
    ("bought, code awaited", "已购买，等待授权码"),
    ("order {}, product {}: it brings no code of its own", "订单 {0}，商品 {1}：不带新的授权码"),
    ("order {}, product {}", "订单 {0}，商品 {1}"),
    ("the order cannot be read: {}", "无法读取订单：<0>"),
    ("the marketplace says that this order is not ours", "云商店称该订单不属于我们"),
    (
        "leases are signed with the key {} instead of {}; reason given: {}",
        "租约改用密钥 {0} 签名，不再使用 {1}；原因：{2}",
    ),
    ("leases are signed with the key {} instead of {}", "租约改用密钥 {0} 签名，不再使用 {1}"),
    (
        "the delisting clock stands at {} failing days instead of {}; reason given: {}",
        "下架计时由 {1} 天改为 {0} 天；原因：{2}",
    ),
    (
        "{}: came again and succeeded: it is off the restart list",
        "<0>：再次到达并成功，已移出重启清单",
    ),
    (
        "{}: failed until the marketplace gave it up: restart it in the seller's console (卖家中心 > 生产接口消息)",
        "<0>：一直失败，云商店已放弃：请在 卖家中心 > 生产接口消息 中重新启动",
    ),
    ("{}: ticked off the restart list: {}", "<0>：已从重启清单中勾除：{1}"),
    ("alarm {} acknowledged: {}", "告警 {0} 已有人处理：{1}"),
    ("alarm {} raised ({}): {}", "告警 {0} 出现（<1>）：<2>"),
    ("alarm {} is back ({}): {}", "告警 {0} 再次出现（<1>）：<2>"),
    ("alarm {} goes on ({}): {}", "告警 {0} 仍在（<1>）：<2>"),
    ("alarm {} is over: {}", "告警 {0} 已恢复：<1>"),
    (
        "message {} about alarm {} was given up: the channel {} did not take it for three days ({})",
        "关于告警 {1} 的消息 {0} 已放弃：通道 {2} 三天未接收（{3}）",
    ),
    ("heartbeat {}: {}", "心跳 {0}：<1>"),
    ("ok, {} steps went as they should", "正常，{0} 个步骤均如预期"),
    ("failed ({}): {}", "失败（<0>）：<1>"),
    ("slow ({}): {}", "偏慢（<0>）：<1>"),
];

/// Why a callback was answered as it was.
const CALLBACKS: &[Phrase] = &[
    ("{}; our own heartbeat, which must be refused", "<0>；这是我们自己的心跳，本应被拒绝"),
    ("{}. Doctor: {}", "<0>（另见签名诊断）"),
    ("older than the status call applied before", "早于已处理的状态回调"),
    ("the code is released, nothing revives it", "该授权码已释放，不会恢复"),
    ("this order has had its effect: the stored answer", "该订单已生效过：按原应答再次应答"),
    (
        "this order came before with other content: nothing was changed; compare both callbacks",
        "该订单曾以不同内容到达：什么都没有改变；请比对两次回调",
    ),
    (
        "a release of a code we never held: nothing is left to do",
        "释放的是本地从未有过的授权码：无需处理",
    ),
    (
        "a code we do not know, and the marketplace could not be asked: kept until it can",
        "本地没有该授权码，当时又无法询问云商店：已保存，待能询问时处理",
    ),
    ("test traffic: checked, without effect", "调测流量：已检查，不生效"),
    (
        "the same nonce and body as before: the stored answer",
        "nonce 与请求体都与之前相同：按原应答再次应答",
    ),
    ("a nonce used before, with another body", "nonce 曾用于另一请求体"),
    (
        "we were told of this order before: the stored answer",
        "该订单此前已通知过：按原应答再次应答",
    ),
    (
        "the caller sent no signature: not the marketplace, or a proxy drops the query string",
        "请求没有签名：不是云商店，或代理丢掉了查询参数",
    ),
    (
        "the caller sent no {}: not the marketplace, or a proxy changes the query string",
        "请求没有 {0}：不是云商店，或代理改动了查询参数",
    ),
    (
        "the caller sent {} more than once: not the marketplace, or a proxy changes the query string",
        "请求中 {0} 出现多次：不是云商店，或代理改动了查询参数",
    ),
    (
        "the caller's timestamp is not 13 digits of milliseconds: nothing to do unless it repeats",
        "请求的时间戳不是 13 位毫秒：除非反复出现，无需处理",
    ),
    (
        "the caller's timestamp is in seconds, License 2.0 signs milliseconds: {}",
        "请求的时间戳以秒为单位，而 License 2.0 以毫秒签名：请检查控制台是否把此地址绑定到 License 接口",
    ),
    (
        "{} belongs to the path that {} names, not to this one: correct the address in the seller's console",
        "{0} 应发往 {1} 所指的路径，而不是此处：请在卖家中心更正地址",
    ),
    (
        "the caller's timestamp is {} ms from our clock, more than 60 s: {}",
        "请求的时间戳与本机时钟相差 {0} 毫秒，超过 60 秒：请检查本机的时间同步",
    ),
    (
        "the caller's nonce is empty, longer than 128 characters or not plain text",
        "请求的 nonce 为空、超过 128 个字符或不是普通文本",
    ),
    (
        "the signature fits none of our access keys: {}",
        "签名与任何访问密钥都不符：请与卖家中心绑定的密钥比对",
    ),
    ("the caller's body is not a JSON object: {}", "请求体不是 JSON 对象：{0}"),
    ("the caller's body has no {}", "请求体中没有 {0}"),
    ("the caller's {} is not a string", "请求体中的 {0} 不是字符串"),
    ("the caller's {} is {}", "请求体中的 {0} 有误：{1}"),
];

/// What is wrong.
const ALARMS: &[Phrase] = &[
    ("the availability heartbeat of {} failed ({}): {}", "{0} 的可用性心跳失败（<1>）：<2>"),
    (
        "the dial test has failed on {} days in a row: trading is frozen at {}; {}",
        "拨测已连续 {0} 天失败：第 {1} 天交易被冻结；请联系云商店运营",
    ),
    (
        "the dial test has failed on {} days in a row: one more freezes trading",
        "拨测已连续 {0} 天失败：再失败一天交易将被冻结",
    ),
    (
        "the dial test has failed, or would have, on {} {} in a row: {} more freeze trading",
        "拨测已失败（或本会失败）连续 {0} 天：再失败 {2} 天交易将被冻结",
    ),
    (
        "no dial test was seen on the {} of {} though the product is on sale",
        "商品在售，但 {1} 的<0>未见到拨测",
    ),
    (
        "the marketplace refused our access key: no calls until {}",
        "云商店拒绝了访问密钥：{0} 之前不再调用",
    ),
    ("no usable answer of {} several times in a row", "{0} 连续多次没有可用的答复"),
    (
        "callbacks that wait until the marketplace is asked about their codes: {}",
        "有 {0} 个回调等待就其授权码询问云商店",
    ),
    ("order {} was bought, but no code was registered for it", "订单 {0} 已购买，但尚未登记授权码"),
    (
        "order {} and {} more were bought, but no code was registered for them",
        "订单 {0} 及另外 {1} 个已购买，但尚未登记授权码",
    ),
    ("entries of usage reports that were given up: {} ({})", "{0} 条用量上报已放弃（{1}）"),
    (
        "a usage report does not get through; nothing of it is lost",
        "用量上报未能送达；内容没有丢失",
    ),
    ("calls that the marketplace has given up: {} ({})", "云商店已放弃 {0} 次调用：{1}"),
    ("calls that fail and are repeated: {} ({})", "有 {0} 次调用失败并在重试：{1}"),
    (
        "failed orders in {}: {}, at risk: {}, allowed: {}; {}",
        "{0} 有 {1} 个订单失败，另有 {2} 个可能失败，允许 {3} 个：<4>",
    ),
    ("within what is allowed", "在允许范围内"),
    ("too many if those at risk fail as well", "若可能失败的也失败，将超过允许数"),
    ("too many: the product may be delisted", "已超过允许数：商品可能被下架"),
    (
        "gaps in which calls may have been missed and that are not settled: {}",
        "有 {0} 段可能漏收回调的时间尚未核实",
    ),
    ("{} refused with 000001: {}", "<0>被拒绝（000001）：{1}"),
    (
        "messages that do not get through on the channel {}: {} ({})",
        "通道 {0} 有 {1} 条消息无法送达：{2}",
    ),
    ("{} ended {} days ago", "<0>已于 {1} 天前到期"),
    ("{} ends within a day", "<0>将在一天内到期"),
    ("{} ends in {} days", "<0>将在 {1} 天后到期"),
    ("the certificate in callback.tls-cert", "callback.tls-cert 中的证书"),
    ("the certificate at our public address", "公网地址上的证书"),
    ("the marketplace's certificate of {}", "云商店 {0} 的证书"),
    (
        "our clock is {} ms {} of the marketplace's, as its answers show",
        "据云商店的答复，本机时钟<1> {0} 毫秒",
    ),
    (
        "our clock is {} ms {} of the signed times of callbacks, but agrees with the marketplace's answers",
        "本机时钟比回调的签名时间<1> {0} 毫秒，但与云商店的答复一致",
    ),
    (
        "our clock is {} ms {} of the signed times of callbacks",
        "本机时钟比回调的签名时间<1> {0} 毫秒",
    ),
    (
        "the wall clock jumped {} s {} at {}, or this machine was suspended",
        "系统时钟于 {2} <1>跳变 {0} 秒，或本机曾被挂起",
    ),
    (
        "{} MiB of {} MiB are free on the disk of data-dir",
        "data-dir 所在磁盘剩余 {0} MiB，共 {1} MiB",
    ),
    ("changed or removed since the daemon read them: {}", "读入之后被更改或删除：{0}"),
    (
        "{} jobs or more have waited for the writer for a minute",
        "一分钟以来至少有 {0} 项任务等待写入",
    ),
    (
        "a code was renewed or released without a callback: a query told of it",
        "有一个授权码已续费或释放却没有回调：由查询得知",
    ),
    (
        "{} changes of codes came without a callback: queries told of them",
        "有 {0} 次授权码变化没有回调：由查询得知",
    ),
    (
        "{} of {} callbacks of the last ten minutes were refused",
        "最近十分钟的 {1} 次回调中有 {0} 次被拒绝",
    ),
];

/// What a heartbeat found, and what a comparison.
const STEPS: &[Phrase] = &[
    ("{}, but after {}; the limit is 20 s", "<0>，但用时 {1}；上限为 20 秒"),
    ("not tried, because {} failed", "未进行：<0> 失败"),
    ("{} is an address: there is no name to resolve", "{0} 是地址，无需解析域名"),
    ("connected to {}, but not to {}", "已连接 {0}，但未能连接 {1}"),
    ("connected to {}", "已连接 {0}"),
    ("plain http: there is no certificate to look at", "明文 http：没有证书可检查"),
    ("DNS: no answer for {} ({})", "DNS：没有 {0} 的答复（<1>）"),
    ("the name has no address", "该域名没有地址"),
    ("no answer within {} s, limit 20 s", "{0} 秒内没有应答，上限为 20 秒"),
    ("no answer within 10 s", "10 秒内没有应答"),
    ("TCP: no connection to {} ({})", "TCP：无法连接 {0}（{1}）"),
    ("{}, the certificate is for {}, {} days left, {}", "{0}，证书属于 {1}，剩余 {2} 天，<3>"),
    ("no intermediate sent, none needed", "未发送中间证书，也不需要"),
    ("1 intermediate sent", "发送了 1 个中间证书"),
    ("{} intermediates sent", "发送了 {0} 个中间证书"),
    ("TLS: no handshake within 10 s", "TLS：10 秒内未完成握手"),
    ("TLS: the server broke off the handshake ({})", "TLS：服务器中断了握手（{0}）"),
    ("TLS: the server does not speak TLS on this port", "TLS：服务器在此端口上不使用 TLS"),
    ("TLS: no handshake: {}", "TLS：握手失败：{0}"),
    ("TLS: the certificate is not valid yet", "TLS：证书尚未生效"),
    ("TLS: the certificate is for {}, not {}", "TLS：证书属于 {0}，不是 {1}"),
    ("TLS: the certificate is refused: {}", "TLS：证书不被接受：{0}"),
    ("TLS: the certificate is signed by itself", "TLS：证书是自签名的"),
    ("TLS: the chain ends at {}, which nobody trusts", "TLS：证书链止于不受信任的 {0}"),
    (
        "TLS: the server does not send its intermediate certificate ({})",
        "TLS：服务器没有发送中间证书（{0}）",
    ),
    ("TLS: {}", "TLS 检查：<0>"),
    ("the certificate expired {}", "证书已过期（<0>）"),
    ("the intermediate certificate {} expired {}", "中间证书 {0} 已过期（<1>）"),
    ("a certificate of the chain has expired", "证书链中有证书已过期"),
    ("{} days ago", "{0} 天前"),
    ("{} hours ago", "{0} 小时前"),
    ("{} minutes ago", "{0} 分钟前"),
    ("answered in {}, limit 20 s", "用时 {0}，上限为 20 秒"),
    ("content type {} instead of application/json", "内容类型为 {0}，应为 application/json"),
    ("the reply is not JSON", "应答不是 JSON"),
    ("the reply is larger than 16 KiB", "应答大于 16 KiB"),
    ("{} is missing", "缺少 {0}"),
    (
        "answered 000001: is the newest access key the bound one?",
        "应答 000001：绑定的是否为最新的密钥？",
    ),
    ("answered HTTP {}, a redirect{}", "应答 HTTP {0}，重定向{1}"),
    ("proxy answered HTTP {}", "代理应答 HTTP {0}"),
    ("answered HTTP {}", "应答 HTTP {0}"),
    ("answered {} instead of {}", "应答 {0}，应为 {1}"),
    ("answered {}", "应答 {0}"),
    ("a call with a wrong signature was accepted", "接受了签名错误的请求"),
    ("a stale call was accepted", "接受了超时的请求"),
    ("cannot connect: {}", "无法连接：{0}"),
    ("the connection broke: {}", "连接中断：{0}"),
    ("{} here, {} at the marketplace", "本地为“<0>”，云商店为“<1>”"),
    ("{} {} failed: {}", "任务 {0}（{1}）失败：{2}"),
];

/// What to do about a step that failed.
const REMEDIES: &[Phrase] = &[
    (
        "renew the certificate and reload the proxy; look why it was not renewed by itself",
        "更新证书并重新加载代理；检查为何没有自动续期",
    ),
    (
        "let the server send the whole chain (fullchain.pem instead of cert.pem), then reload it",
        "让服务器发送完整的证书链（用 fullchain.pem 而不是 cert.pem），然后重新加载",
    ),
    (
        "serve a certificate that names the public address, or correct callback.public-url",
        "使用包含公网地址的证书，或更正 callback.public-url",
    ),
    (
        "serve a certificate of a public authority: the marketplace trusts no other",
        "使用公共机构签发的证书：云商店不信任其他证书",
    ),
    (
        "compare the clocks of this machine and of whoever made the certificate",
        "比对本机与签发证书一方的时钟",
    ),
    (
        "see that TLS 1.2 or 1.3 is served on this port, and the server's error log",
        "确认此端口提供 TLS 1.2 或 1.3，并查看服务器的错误日志",
    ),
    (
        "look at the load of proxy and machine, and at its disk: the marketplace gives up after 20 s",
        "检查代理与机器的负载及磁盘：云商店 20 秒后放弃",
    ),
    (
        "something else answers: compare the path and the proxy's configuration",
        "应答的是别的程序：请比对路径与代理的配置",
    ),
    (
        "see the proxy's error log, and whether it reaches the daemon's callback.listen",
        "查看代理的错误日志，以及它能否访问 callback.listen",
    ),
    (
        "give the console the final address: the marketplace may not follow a redirect",
        "在控制台填写最终地址：云商店不一定跟随重定向",
    ),
    (
        "compare the path in the console, in the proxy and in callback.path; look for a firewall (WAF)",
        "比对控制台、代理与 callback.path 中的路径；检查防火墙（WAF）",
    ),
    (
        "something answers in our place, or checks nothing: take it out at once",
        "有程序代替我们应答，或不做检查：请立即移除",
    ),
    (
        "compare the Key in the console (密钥管理) with the first of callback.access-key-files; the proxy must pass body and query on unchanged",
        "比对控制台 密钥管理 中的 Key 与 callback.access-key-files 的第一项；代理必须原样转交请求体与查询参数",
    ),
    ("see the logs of proxy and daemon at this minute", "查看代理与守护进程在这一分钟的日志"),
    (
        "restore the DNS record of the public address; look at the resolver of this machine",
        "恢复公网地址的 DNS 记录；检查本机的解析器",
    ),
    (
        "is the proxy running? is the port open in firewall and security group (安全组)?",
        "代理是否在运行？防火墙与安全组是否放行该端口？",
    ),
    ("look at what is slow: resolver, proxy, load, disk", "检查何处缓慢：解析器、代理、负载、磁盘"),
];

/// Single words, as they stand in sentences.
const WORDS: &[Phrase] = &[
    ("activate", "现在激活"),
    ("query", "询问云商店"),
    ("repair", "修复"),
    ("run the job {}", "运行任务 {0}"),
    ("start {}", "启动时 {0}"),
    ("manual {}", "手动 {0}"),
    ("a callback was", "有一次回调"),
    ("{} callbacks were", "有 {0} 次回调"),
    ("issued", "已发放"),
    ("received", "已领取"),
    ("activated", "已激活"),
    ("renewed", "已续费"),
    ("frozen", "已冻结"),
    ("released", "已释放"),
    ("alive", "有效"),
    ("expired", "已过期"),
    ("not_activated", "未激活"),
    ("unknown_code", "无此授权码"),
    ("FREEZE", "冻结（FREEZE）"),
    ("UNFREEZE", "解冻（UNFREEZE）"),
    ("RENEWAL", "续费（RENEWAL）"),
    ("UNSUBSCRIBE_RENEWAL_PERIOD", "退续费（UNSUBSCRIBE_RENEWAL_PERIOD）"),
    ("release", "释放"),
    ("releaseLicenseCode", "释放（releaseLicenseCode）"),
    ("activate 92020000", "激活应答 92020000"),
    ("activate 92020004 not received", "激活应答 92020004（未领取）"),
    ("activate 92020003 illegal state", "激活应答 92020003（状态不允许）"),
    ("activate/query 92020005 unknown", "应答 92020005（无此授权码）"),
    ("query 92020011 not activated", "查询应答 92020011（未激活）"),
    ("query ALIVE", "查询结果“有效”"),
    ("query EXPIRED", "查询结果“已过期”"),
    ("query RELEASED", "查询结果“已释放”"),
    ("dns", "域名解析"),
    ("tcp", "建立连接"),
    ("tls", "证书链"),
    ("renewal", "续费"),
    ("unrenewal", "退续费"),
    ("freeze", "冻结"),
    ("unfreeze", "解冻"),
    ("wrong_signature", "错误签名"),
    ("stale", "超时请求"),
    ("warning", "注意"),
    ("high", "紧急"),
    ("emergency", "危急"),
    ("ahead", "快"),
    ("behind", "慢"),
    ("back", "向后"),
    ("morning", "上午"),
    ("afternoon", "下午"),
];

/// Every part of the book. A more special phrase stands before a more general one.
const BOOK: [&[Phrase]; 6] = [EVENTS, CALLBACKS, ALARMS, STEPS, REMEDIES, WORDS];

/// A stored sentence in the viewer's language, if that is not the one it is stored in and the book holds it.
pub(super) fn in_lang(stored: &str, lang: Lang) -> Option<String> {
    match lang {
        Lang::En => None,
        Lang::Zh => zh(stored),
    }
}

fn zh(stored: &str) -> Option<String> {
    let mut phrases = BOOK.iter().copied().flatten();
    phrases.find_map(|(english, chinese)| Some(fill(chinese, &parts(english, stored)?)))
}

/// What stands at the places of a pattern, if the whole text is like it.
fn parts<'a>(pattern: &str, text: &'a str) -> Option<Vec<&'a str>> {
    let mut literals = pattern.split("{}");
    let mut rest = text.strip_prefix(literals.next()?)?;
    let mut parts = Vec::new();
    let mut literals = literals.peekable();
    while let Some(literal) = literals.next() {
        let end = match literals.peek() {
            // The last literal ends the text.
            None => rest.strip_suffix(literal)?.len(),
            Some(_) => rest.find(literal)?,
        };
        parts.push(&rest[..end]);
        rest = &rest[end + literal.len()..];
    }
    (rest.is_empty() && parts.iter().all(|part| !part.is_empty())).then_some(parts)
}

/// Puts parts into their places.
fn fill(chinese: &str, parts: &[&str]) -> String {
    let mut filled = String::with_capacity(chinese.len());
    let mut rest = chinese;
    while let Some(at) = rest.find(['{', '<']) {
        let (before, place) = rest.split_at(at);
        filled.push_str(before);
        let nth = place[1..].chars().next().and_then(|c| c.to_digit(10)).unwrap_or(0) as usize;
        let part = parts.get(nth).copied().unwrap_or_default();
        match place.strip_prefix('<').and_then(|_| zh(part)) {
            Some(told) => filled.push_str(&told),
            None => filled.push_str(part),
        }
        rest = place.get(3..).unwrap_or_default();
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn a_sentence_is_told_with_what_stands_in_it() {
        for (stored, told) in [
            ("valid until 20271231235959 (no zone given)", "有效期至 20271231235959（未注明时区）"),
            (
                "ordered: activate; reason given: the buyer called",
                "已下令：现在激活；原因：the buyer called",
            ),
            ("ordered: run the job usage", "已下令：运行任务 usage"),
            ("reason given: released", "原因：released"),
            (
                "RENEWAL does not fit state released: nothing was changed; compare with the seller's console",
                "续费（RENEWAL） 与状态“已释放”不符：什么都没有改变；请与卖家中心比对",
            ),
            (
                "heartbeat 2026-11-25T08:00: failed (tcp): TCP: no connection to a.example (refused)",
                "心跳 2026-11-25T08:00：失败（建立连接）：TCP：无法连接 a.example（refused）",
            ),
            (
                "answered 000000, but after 2.5 s; the limit is 20 s",
                "应答 000000，但用时 2.5 s；上限为 20 秒",
            ),
        ] {
            assert_eq!(in_lang(stored, Lang::Zh).as_deref(), Some(told));
            assert_eq!(in_lang(stored, Lang::En), None);
        }
        assert_eq!(in_lang("nobody wrote this", Lang::Zh), None);
        assert_eq!(in_lang("", Lang::Zh), None);
    }

    #[test]
    fn each_phrase_has_its_places_and_finds_itself() {
        for (english, chinese) in BOOK.iter().copied().flatten() {
            let holes = english.matches("{}").count();
            let named: BTreeSet<usize> = (0..10)
                .filter(|n| {
                    chinese.contains(&format!("{{{n}}}")) || chinese.contains(&format!("<{n}>"))
                })
                .collect();
            assert!(named.iter().all(|n| *n < holes), "{english}: {chinese}");
            assert!(chinese.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c)), "{chinese}");
            // A general phrase before a special one would hide it.
            let text = english.replace("{}", "§");
            let found =
                BOOK.iter().copied().flatten().find(|(other, _)| parts(other, &text).is_some());
            assert_eq!(found.map(|(found, _)| *found), Some(*english));
        }
    }

    /// A sentence that was worded otherwise since would be told in English only.
    #[test]
    fn each_phrase_stands_in_the_source() {
        let mut source = String::new();
        read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut source);
        for (english, _) in BOOK.iter().copied().flatten() {
            for part in english
                .split("{}")
                .map(|part| part.trim_matches([' ', ':']))
                .filter(|part| part.len() > 3)
            {
                assert!(source.contains(part), "nobody writes {part:?} of {english:?}");
            }
        }
    }

    /// All sources but this one, with each text on one line.
    fn read(folder: &Path, source: &mut String) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                read(&path, source);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("phrases.rs")
            {
                let text = std::fs::read_to_string(&path).expect("UTF-8");
                let mut lines = text.split("\\\n");
                source.push_str(lines.next().unwrap_or_default());
                for line in lines {
                    source.push_str(line.trim_start());
                }
            }
        }
    }
}
