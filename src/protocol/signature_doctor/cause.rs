//! The causes that are told apart, each with its word and what to do about it.

use std::borrow::Cow;

/// One thing that is wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What kind of thing.
    pub cause: Cause,
    /// What exactly, as a clause.
    pub what: Cow<'static, str>,
}

impl Fault {
    pub(super) const fn new(cause: Cause, what: &'static str) -> Self {
        Self { cause, what: Cow::Borrowed(what) }
    }
}

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident => $word:literal, $remedy:expr;)*) => {
        /// Why a signature does not hold.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Cause {
            $($(#[$doc])* $name,)*
        }

        impl Cause {
            /// Every cause.
            pub const ALL: [Self; [$(Self::$name),*].len()] = [$(Self::$name),*];

            /// The word used in columns, JSON, logs and metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// How to put it right.
            #[must_use]
            pub const fn what_to_do(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }
        }
    };
}

const PROXY_BODY: &str = "let the proxy hand the body on byte by byte (no rewriting, no filter, no re-encoding), or let the signer sign the bytes that it sends";
const PROXY_QUERY: &str = "let the proxy hand the query string on as it came (nginx: proxy_pass without a URI part), or let the signer encode each parameter once";
const SIGNER: &str = "this is no License 2.0 signature: check in 卖家中心 that this address stands at the License interface (License授权码交付接口), or correct the program that signed";

causes! {
    /// The key that was live before the present ones.
    PreviousKey => "previous_key",
        "the console has the old key: bind the new one there, or name the old file second in callback.access-key-files until that is done";
    /// One that was retired earlier.
    OlderKey => "older_key",
        "the console has a key that was retired long ago: bind the newest one there (密钥管理), then save the debug cases again";
    /// A key of ours that serves another type of interface.
    OtherInterfaceKey => "other_interface_key",
        "a key serves one type of interface: bind this interface's own key in 密钥管理, or correct the key files of [callback] and [orders]";
    /// The SK of the open API.
    OpenApiSecret => "open_api_secret",
        "callbacks are signed with the access key (Key值) of 密钥管理, not with AK/SK: correct the program that signed";
    /// The AK of the open API.
    OpenApiKeyId => "open_api_key_id",
        "callbacks are signed with the access key (Key值) of 密钥管理, not with AK/SK: correct the program that signed";
    /// The right key, written otherwise.
    KeyText => "key_text",
        "copy the key again from 密钥管理, alone and without quotes, blanks or line ends, to the file and to the signer";
    /// Seconds, or a signature over seconds.
    Seconds => "seconds",
        "License 2.0 signs and sends milliseconds, 13 digits: a sister product's interface is bound to this address, or the program that signed must be corrected";
    /// The timestamp is outside the window.
    Clock => "clock",
        "repair time synchronisation on the machine that is named (chronyc tracking, timedatectl); the window of 60 s cannot be widened";
    /// White space at an end, or a byte order mark.
    BodyTrimmed => "body_trimmed", PROXY_BODY;
    /// Other white space between the tokens, or nulls dropped.
    BodyReserialised => "body_reserialised", PROXY_BODY;
    /// Other order of fields.
    BodyReordered => "body_reordered", PROXY_BODY;
    /// Characters escaped or unescaped.
    BodyEscapes => "body_escapes", PROXY_BODY;
    /// Characters in another encoding.
    BodyCharset => "body_charset",
        "body and signature must use UTF-8: correct the proxy's or the signer's charset";
    /// Percent-encoded, a form, or other line ends.
    BodyReencoded => "body_reencoded", PROXY_BODY;
    /// The signature covers no body.
    BodyUnsigned => "body_unsigned",
        "the signer must sign the body that it sends: it signed an empty one";
    /// The body did not arrive.
    BodyMissing => "body_missing",
        "something before us drops the body: look for a redirect (the address in the console must be the final one) or a filter of the proxy";
    /// The nonce was signed in its URL-encoded form.
    NotDecoded => "not_decoded", PROXY_QUERY;
    /// The nonce was URL-encoded twice.
    EncodedTwice => "encoded_twice", PROXY_QUERY;
    /// A plus sign that was not encoded.
    PlusAsSpace => "plus_as_space", PROXY_QUERY;
    /// The nonce in another case, or trimmed.
    NonceChanged => "nonce_changed", PROXY_QUERY;
    /// Base64 instead of hex.
    SignatureBase64 => "signature_base64",
        "License 2.0 writes the signature in hex, 64 digits; base64 is a sister product's form: correct the program that signed";
    /// Quotes, a prefix, blanks, a missing end.
    SignatureForm => "signature_form",
        "the signature must be 64 hex digits and nothing else: correct the signer, or the proxy that cuts the query string";
    /// The body's own hash in another form.
    InnerHash => "inner_hash",
        "the body's HMAC goes into the signed text in lower-case hex: correct the program that signed";
    /// The body's hash without the key.
    UnkeyedHash => "unkeyed_hash",
        "the body's hash is an HMAC with the access key, not a plain SHA-256: correct the program that signed";
    /// Other parts, or in another order.
    Parts => "parts",
        "the signed text is access key, nonce, timestamp and the body's HMAC, in this order: correct the program that signed";
    /// The scheme of 联营kit (x-sign).
    KitScheme => "kit_scheme", SIGNER;
    /// The scheme of SaaS V1 and License 1.0.
    AuthToken => "auth_token", SIGNER;
    /// The scheme of the open API, which is for calls in the other direction.
    OpenApiSignature => "open_api_signature", SIGNER;
    /// The parameters stand elsewhere than in the URL, or under other names.
    Elsewhere => "elsewhere",
        "signature, timestamp and nonce belong into the query string under these names: correct the signer, or the proxy that moves them";
    /// There was no query string at all.
    NoQuery => "no_query",
        "a stranger, or a proxy that drops the query string: if `authcoded probe run` fails as well, correct the proxy (nginx: proxy_pass without a URI part)";
    /// There is a query string, but no signature.
    NoSignature => "no_signature",
        "a stranger, or a proxy that drops parameters: if `authcoded probe run` fails as well, correct the proxy";
    /// Nothing that was tried explains it.
    Unknown => "unknown",
        "compare the access key in 密钥管理 with the key file; name older keys in callback.retired-access-key-files and wait for the next try; if our heartbeat passes, the caller has a key that we do not";
}

impl Cause {
    /// The cause with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == word)
    }
}
