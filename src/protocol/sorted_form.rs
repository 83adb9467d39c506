//! The second form of a body that a signature may cover (protocol.md 5.2).
//!
//! Invariant: values keep their text; only order, white space, nulls and escapes of the object change.

use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

/// The body as Huawei's sample code hashes it: top-level keys sorted, nulls dropped, compact, non-ASCII
/// unescaped, values as they are (protocol.md 5.2). `None` when the body is no object, or names a key twice.
pub(super) fn sorted_form(body: &[u8]) -> Option<Vec<u8>> {
    let mut parser = serde_json::Deserializer::from_slice(body);
    let fields = parser.deserialize_map(SortedFields).ok()?;
    parser.end().ok()?;
    let mut out = String::from("{");
    for (key, value) in fields.iter().filter(|(_, value)| value.get() != "null") {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&serde_json::to_string(key).ok()?);
        out.push(':');
        compact(value.get(), &mut out)?;
    }
    out.push('}');
    Some(out.into_bytes())
}

struct SortedFields;

impl<'de> Visitor<'de> for SortedFields {
    type Value = BTreeMap<String, Box<RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some(key) = map.next_key()? {
            match fields.entry(key) {
                Entry::Vacant(free) => free.insert(map.next_value()?),
                Entry::Occupied(_) => return Err(de::Error::custom("a key twice")),
            };
        }
        Ok(fields)
    }
}

/// Copies a JSON value without white space between its tokens and with its strings unescaped.
pub(super) fn compact(mut rest: &str, out: &mut String) -> Option<()> {
    while let Some(first) = rest.chars().next() {
        let end = if first == '"' { string_end(rest)? } else { first.len_utf8() };
        let (token, after) = rest.split_at(end);
        if first == '"' {
            let text: String = serde_json::from_str(token).ok()?;
            out.push_str(&serde_json::to_string(&text).ok()?);
        } else if !first.is_ascii_whitespace() {
            out.push_str(token);
        }
        rest = after;
    }
    Some(())
}

/// The length of the string literal that `text` begins with.
fn string_end(text: &str) -> Option<usize> {
    let mut escaped = true; // the opening quote does not close
    text.bytes()
        .position(|byte| {
            let closes = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            closes
        })
        .map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sorted_form_is_that_of_the_sample_code() {
        let form =
            |body: &str| sorted_form(body.as_bytes()).map(|b| String::from_utf8(b).expect("text"));
        let cases = [
            ("{}", Some("{}")),
            (" { \"b\" : \"2\" ,\n\"a\":\"1\"} ", Some(r#"{"a":"1","b":"2"}"#)),
            (r#"{"b":null,"a":"x","c":null}"#, Some(r#"{"a":"x"}"#)),
            (r#"{"a":"\u4e2d\/\u0022"}"#, Some(r#"{"a":"中/\""}"#)),
            (r#"{"b":1.0,"a":1e2,"c":true}"#, Some(r#"{"a":1e2,"b":1.0,"c":true}"#)),
            (
                r#"{"a":{"z": [ 1 , null ],"y":"\\\" ]"}}"#,
                Some(r#"{"a":{"z":[1,null],"y":"\\\" ]"}}"#),
            ),
            (r#"{"a":"1","a":"1"}"#, None),
            (r#"{"a":"1","\u0061":"1"}"#, None),
            (r#"{"a":"1"}x"#, None),
            (r#"["a"]"#, None),
            ("", None),
        ];
        for (body, expected) in cases {
            assert_eq!(form(body).as_deref(), expected, "{body}");
        }
    }
}
