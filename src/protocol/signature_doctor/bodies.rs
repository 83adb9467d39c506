//! The bodies that may have been signed, when the one that came is another: trimmed, written anew,
//! escaped, re-encoded.
//!
//! Invariant: each form is there once, under the likeliest reason; their number is bounded.

use super::cause::{Cause, Fault};
use crate::protocol::sorted_form::{compact, sorted_form};
use percent_encoding::percent_decode;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Forms of one body that are tried at most.
const FORMS_MAX: usize = 96;
/// With more fields than this, only the orders of the documents are tried: six have 720 orders.
const FIELDS_IN_ANY_ORDER: usize = 6;
/// The fields as the documents' tables list them (protocol.md 4.2 to 4.4).
const DOCUMENTED: [&str; 10] = [
    "activity",
    "scene",
    "orderId",
    "orderLineId",
    "license",
    "productId",
    "expireTime",
    "status",
    "testFlag",
    "contentType",
];
const BOM: &[u8] = "\u{feff}".as_bytes();

/// A body that may have been signed.
pub(super) struct Form {
    pub(super) bytes: Vec<u8>,
    pub(super) fault: Option<Fault>,
}

/// The body as it came, and its sorted form, which is accepted, too.
pub(super) fn as_it_came(body: &[u8]) -> Vec<Form> {
    let mut forms = vec![Form { bytes: body.to_vec(), fault: None }];
    let sorted = sorted_form(body).filter(|sorted| sorted != body);
    forms.extend(sorted.map(|bytes| Form { bytes, fault: None }));
    forms
}

/// All forms, the likeliest first.
pub(super) fn variants(body: &[u8]) -> Vec<Form> {
    let mut forms = as_it_came(body);
    at_the_ends(body, &mut forms);
    rewritten(body, &mut forms);
    re_encoded(body, &mut forms);
    push(&mut forms, Vec::new(), Cause::BodyUnsigned, "the signature covers an empty body");
    forms
}

fn push(forms: &mut Vec<Form>, bytes: Vec<u8>, cause: Cause, what: &'static str) {
    if forms.len() < FORMS_MAX && forms.iter().all(|form| form.bytes != bytes) {
        forms.push(Form { bytes, fault: Some(Fault::new(cause, what)) });
    }
}

fn at_the_ends(body: &[u8], forms: &mut Vec<Form>) {
    let lost = "a line end behind the body was signed, but did not arrive";
    let added = "white space around the body arrived, but was not signed";
    let mut trimmed = |bytes: Vec<u8>, what| push(forms, bytes, Cause::BodyTrimmed, what);
    for end in ["\n", "\r\n", "\n\n"] {
        trimmed([body, end.as_bytes()].concat(), lost);
    }
    trimmed([body, b" "].concat(), "a blank behind the body was signed, but did not arrive");
    trimmed(body.trim_ascii_end().to_vec(), added);
    trimmed(body.trim_ascii().to_vec(), added);
    trimmed([BOM, body].concat(), "a byte order mark was signed, but did not arrive");
    if let Some(bare) = body.strip_prefix(BOM) {
        trimmed(bare.to_vec(), "a byte order mark arrived, but was not signed");
    }
}

/// The same JSON, written by somebody else.
fn rewritten(body: &[u8], forms: &mut Vec<Form>) {
    let Some(fields) = Fields::read(body) else { return };
    let mut sorted = fields.clone();
    sorted.0.sort();
    let mut documented = fields.clone();
    let place = |name: &str| DOCUMENTED.iter().position(|known| *known == name);
    documented.0.sort_by_key(|(name, _)| place(name).unwrap_or(DOCUMENTED.len()));
    let orders = [(&fields, false), (&sorted, true), (&documented, true)];
    for (fields, reordered) in orders {
        for fields in [fields, &fields.without_nulls()] {
            for spacing in Spacing::ALL {
                let text = fields.written(spacing);
                let (cause, what) = if reordered {
                    (Cause::BodyReordered, "its fields were signed in another order")
                } else {
                    (Cause::BodyReserialised, "its JSON was signed with other white space or nulls")
                };
                push(forms, text.clone().into_bytes(), cause, what);
                for (text, what) in escapes(&text) {
                    push(forms, text.into_bytes(), Cause::BodyEscapes, what);
                }
            }
        }
    }
}

/// The same text with other escapes.
fn escapes(text: &str) -> Vec<(String, &'static str)> {
    let unicode = |upper: bool| {
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            if c.is_ascii() {
                out.push(c);
                continue;
            }
            for unit in c.encode_utf16(&mut [0; 2]) {
                let escape =
                    if upper { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") };
                out.push_str(&escape);
            }
        }
        out
    };
    let mut html = text.to_owned();
    for (plain, escape) in
        [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026"), ('=', "\\u003d"), ('\'', "\\u0027")]
    {
        html = html.replace(plain, escape);
    }
    vec![
        (unicode(false), "characters beyond ASCII were signed as \\u escapes"),
        (unicode(true), "characters beyond ASCII were signed as \\u escapes in upper case"),
        (text.replace('/', "\\/"), "slashes were signed as \\/"),
        (html, "characters such as = and & were signed as \\u escapes"),
    ]
}

/// The same characters as other bytes.
fn re_encoded(body: &[u8], forms: &mut Vec<Form>) {
    let reencoded = Cause::BodyReencoded;
    if body.contains(&b'%') {
        let decoded: Vec<u8> = percent_decode(body).collect();
        push(forms, decoded, reencoded, "the body arrived percent-encoded");
        let spaced: Vec<u8> = body.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
        let decoded: Vec<u8> = percent_decode(&spaced).collect();
        let form = decoded.strip_suffix(b"=").unwrap_or(&decoded);
        push(forms, form.to_vec(), reencoded, "the body arrived as a form");
    }
    if let Some(bare) = body.strip_suffix(b"=") {
        push(forms, bare.to_vec(), reencoded, "the body arrived as a form");
    }
    let Ok(text) = std::str::from_utf8(body) else {
        let latin: String = body.iter().map(|byte| char::from(*byte)).collect();
        let what = "the body arrived in an encoding other than UTF-8";
        push(forms, latin.into_bytes(), Cause::BodyCharset, what);
        return;
    };
    let unix = text.replace("\r\n", "\n");
    let dos = unix.replace('\n', "\r\n");
    push(forms, unix.into_bytes(), reencoded, "line ends arrived as CR LF");
    push(forms, dos.into_bytes(), reencoded, "line ends were signed as CR LF");
    if !text.is_ascii() {
        charsets(text, forms);
    }
}

fn charsets(text: &str, forms: &mut Vec<Form>) {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    if let Some(bytes) = bytes {
        let what = "the body was encoded as UTF-8 once too often";
        push(forms, bytes, Cause::BodyCharset, what);
    }
    let twice: String = text.bytes().map(char::from).collect();
    let what = "the body was signed with UTF-8 applied twice";
    push(forms, twice.into_bytes(), Cause::BodyCharset, what);
    let lossy = text.replace(|c: char| !c.is_ascii(), "?");
    let what = "the signer's charset has no characters beyond ASCII: it signed question marks";
    push(forms, lossy.into_bytes(), Cause::BodyCharset, what);
}

/// The compact body with its fields in every order, if they are few.
pub(super) fn every_order(body: &[u8]) -> Vec<Vec<u8>> {
    let mut orders = Vec::new();
    if let Some(fields) = Fields::read(body).filter(|f| f.0.len() <= FIELDS_IN_ANY_ORDER) {
        let mut fields = fields.0;
        permute(&mut fields, 0, &mut |order| {
            orders.push(Fields(order.to_vec()).written(Spacing::Compact).into_bytes());
        });
    }
    orders
}

fn permute<T>(items: &mut [T], from: usize, tell: &mut impl FnMut(&[T])) {
    if from + 1 >= items.len() {
        return tell(items);
    }
    for next in from..items.len() {
        items.swap(from, next);
        permute(items, from + 1, tell);
        items.swap(from, next);
    }
}

/// White space as common writers put it.
#[derive(Debug, Clone, Copy)]
enum Spacing {
    Compact,
    /// `{"a": 1, "b": 2}`
    Blanks,
    /// A line for each field, indented by so many blanks.
    Lines(usize),
}

impl Spacing {
    const ALL: [Self; 4] = [Self::Compact, Self::Blanks, Self::Lines(2), Self::Lines(4)];
}

/// The fields of an object, names and values as compact JSON text, in their order.
#[derive(Clone)]
struct Fields(Vec<(String, String)>);

impl Fields {
    fn read(body: &[u8]) -> Option<Self> {
        let mut parser = serde_json::Deserializer::from_slice(body);
        let fields = parser.deserialize_map(Ordered).ok()?;
        parser.end().ok()?;
        let fields = fields.into_iter().map(|(name, value)| {
            let mut text = String::new();
            compact(value.get(), &mut text)?;
            Some((name, text))
        });
        fields.collect::<Option<_>>().map(Self)
    }

    fn without_nulls(&self) -> Self {
        Self(self.0.iter().filter(|(_, value)| value != "null").cloned().collect())
    }

    fn written(&self, spacing: Spacing) -> String {
        let (open, joint, colon, close) = match spacing {
            Spacing::Compact => ("{".to_owned(), ",".to_owned(), ":", "}"),
            Spacing::Blanks => ("{".to_owned(), ", ".to_owned(), ": ", "}"),
            Spacing::Lines(indent) => {
                let line = format!("\n{}", " ".repeat(indent));
                (format!("{{{line}"), format!(",{line}"), ": ", "\n}")
            }
        };
        let fields = self.0.iter().map(|(name, value)| {
            let name = serde_json::Value::from(name.as_str());
            format!("{name}{colon}{value}")
        });
        format!("{open}{}{close}", fields.collect::<Vec<_>>().join(&joint))
    }
}

struct Ordered;

impl<'de> Visitor<'de> for Ordered {
    type Value = Vec<(String, Box<RawValue>)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(fields)
    }
}
