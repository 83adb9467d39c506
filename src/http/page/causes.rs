//! The signature doctor's causes as people read them.

use super::texts::Lang;
use crate::protocol::signature_doctor::Cause;

const PROXY_BODY: &str =
    "让代理逐字节转交请求体（不改写、不过滤、不重新编码），或让签名方对实际发送的字节签名。";
const PROXY_QUERY: &str =
    "让代理原样转交查询参数（nginx：proxy_pass 不带 URI 部分），或让签名方对每个参数只编码一次。";
const SIGNER: &str = "这不是 License 2.0 的签名：在卖家中心检查此地址是否填在 License 接口（License授权码交付接口），或更正签名的程序。";
const OPEN_API: &str = "回调用 密钥管理 中的访问密钥（Key值）签名，不是 AK/SK：请更正签名的程序。";

/// What a cause is called, and what to do about it.
pub(super) const fn told(cause: Cause, lang: Lang) -> (&'static str, &'static str) {
    let (zh, en, remedy) = words(cause);
    match lang {
        Lang::Zh => (zh, remedy),
        Lang::En => (en, cause.what_to_do()),
    }
}

/// Its name in Chinese and English, and the remedy in Chinese.
const fn words(cause: Cause) -> (&'static str, &'static str, &'static str) {
    match cause {
        Cause::PreviousKey => (
            "用上一个密钥签名",
            "signed with the previous key",
            "控制台绑定的是旧密钥：请绑定新密钥；在此之前把旧密钥文件列为 callback.access-key-files 的第二项。",
        ),
        Cause::OlderKey => (
            "用更早的密钥签名",
            "signed with an older key",
            "控制台绑定的是早已停用的密钥：请在 密钥管理 中绑定最新的密钥，然后重新保存调测用例。",
        ),
        Cause::OtherInterfaceKey => (
            "用另一类接口的密钥签名",
            "signed with another interface's key",
            "一个密钥只用于一类接口：请在 密钥管理 中绑定本接口的密钥，或更正 [callback] 与 [orders] 的密钥文件。",
        ),
        Cause::OpenApiSecret => ("用 SK 签名", "signed with the SK of the open API", OPEN_API),
        Cause::OpenApiKeyId => ("用 AK 签名", "signed with the AK of the open API", OPEN_API),
        Cause::KeyText => (
            "密钥多了或少了字符",
            "the key is written otherwise",
            "请从 密钥管理 重新复制密钥到文件和签名方，不带引号、空格或换行。",
        ),
        Cause::Seconds => (
            "时间戳以秒为单位",
            "a timestamp in seconds",
            "License 2.0 使用 13 位毫秒：此地址绑定了其他类型商品的接口，或签名的程序需要更正。",
        ),
        Cause::Clock => (
            "时钟偏差",
            "a clock is wrong",
            "请修复所指机器的时间同步（chronyc tracking、timedatectl）；60 秒的窗口不能放宽。",
        ),
        Cause::BodyTrimmed => ("请求体首尾被改动", "the body's ends were changed", PROXY_BODY),
        Cause::BodyReserialised => {
            ("请求体被重新序列化", "the body was serialised again", PROXY_BODY)
        }
        Cause::BodyReordered => {
            ("请求体的字段顺序被改变", "the body's fields were reordered", PROXY_BODY)
        }
        Cause::BodyEscapes => {
            ("请求体的字符转义被改变", "the body's escapes were changed", PROXY_BODY)
        }
        Cause::BodyCharset => (
            "请求体的字符编码不同",
            "the body's charset is another one",
            "请求体与签名都必须使用 UTF-8：请更正代理或签名方的字符集。",
        ),
        Cause::BodyReencoded => ("请求体被重新编码", "the body was encoded again", PROXY_BODY),
        Cause::BodyUnsigned => (
            "签名未覆盖请求体",
            "the body is not signed",
            "签名方必须对所发送的请求体签名：它签的是空请求体。",
        ),
        Cause::BodyMissing => (
            "请求体没有到达",
            "the body did not arrive",
            "前面有环节丢掉了请求体：检查是否有重定向（控制台中必须填最终地址）或代理的过滤。",
        ),
        Cause::NotDecoded => ("nonce 未解码即签名", "the nonce was signed undecoded", PROXY_QUERY),
        Cause::EncodedTwice => ("nonce 被编码两次", "the nonce was encoded twice", PROXY_QUERY),
        Cause::PlusAsSpace => ("加号没有编码", "a plus sign was not encoded", PROXY_QUERY),
        Cause::NonceChanged => ("nonce 被改动", "the nonce was changed", PROXY_QUERY),
        Cause::SignatureBase64 => (
            "签名为 base64",
            "a signature in base64",
            "License 2.0 的签名是 64 位十六进制；base64 是其他类型商品的形式：请更正签名的程序。",
        ),
        Cause::SignatureForm => (
            "签名形式有误",
            "a malformed signature",
            "签名必须正好是 64 位十六进制：请更正签名方，或截断了查询参数的代理。",
        ),
        Cause::InnerHash => (
            "请求体摘要的形式不同",
            "the body's hash in another form",
            "请求体的 HMAC 以小写十六进制进入待签文本：请更正签名的程序。",
        ),
        Cause::UnkeyedHash => (
            "请求体摘要没有使用密钥",
            "the body's hash without the key",
            "请求体的摘要是以访问密钥计算的 HMAC，不是普通的 SHA-256：请更正签名的程序。",
        ),
        Cause::Parts => (
            "待签文本的组成不同",
            "other parts were signed",
            "待签文本依次为访问密钥、nonce、时间戳和请求体的 HMAC：请更正签名的程序。",
        ),
        Cause::KitScheme => ("联营kit 的签名方式", "the scheme of the kit (x-sign)", SIGNER),
        Cause::AuthToken => {
            ("SaaS V1 或 License 1.0 的签名方式", "the scheme of SaaS V1 (authToken)", SIGNER)
        }
        Cause::OpenApiSignature => ("开放接口的签名方式", "the scheme of the open API", SIGNER),
        Cause::Elsewhere => (
            "参数不在应在的地方",
            "the parameters stand elsewhere",
            "signature、timestamp、nonce 必须以这些名称放在查询参数中：请更正签名方，或移动了它们的代理。",
        ),
        Cause::NoQuery => (
            "没有查询参数",
            "there is no query string",
            "是陌生人，或代理丢掉了查询参数：如果 authcoded probe run 也失败，请更正代理（nginx：proxy_pass 不带 URI 部分）。",
        ),
        Cause::NoSignature => (
            "没有签名",
            "there is no signature",
            "是陌生人，或代理丢掉了参数：如果 authcoded probe run 也失败，请更正代理。",
        ),
        Cause::Unknown => (
            "原因不明",
            "unexplained",
            "请比对 密钥管理 中的访问密钥与密钥文件；把旧密钥列入 callback.retired-access-key-files 并等待下一次尝试；如果我们的心跳通过，则对方使用的是我们没有的密钥。",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_name_in_both_languages() {
        for lang in Lang::ALL {
            let names: std::collections::BTreeSet<_> =
                Cause::ALL.into_iter().map(|cause| told(cause, lang).0).collect();
            assert_eq!(names.len(), Cause::ALL.len());
        }
        let chinese = |text: &str| text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
        for cause in Cause::ALL {
            let (zh, remedy) = told(cause, Lang::Zh);
            assert!(chinese(zh) && remedy.ends_with('。'), "{cause:?}");
            assert!(!chinese(told(cause, Lang::En).0), "{cause:?}");
        }
    }
}
