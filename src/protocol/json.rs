//! Strict JSON objects: each key once at every level, bounded depth, nothing after the end.
//!
//! Invariant: two readers of bytes that pass here cannot disagree on what a field says.

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// How deep containers may nest, the body itself included. The protocol needs 1.
const MAX_DEPTH: usize = 16;

/// Why bytes are no strict JSON object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// Not JSON, not UTF-8, or cut off.
    #[error("not valid JSON at line {line}, column {column}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// JSON, but a list, a string or the like.
    #[error("not an object")]
    NotObject,
    /// A key stands twice in one object.
    #[error("an object names the same key twice")]
    RepeatedKey,
    /// More than 16 levels.
    #[error("nested more than 16 levels deep")]
    TooDeep,
}

/// A field's value as far as callbacks use one.
#[derive(Debug)]
enum Field {
    Text(String),
    Null,
    Other,
}

/// The fields of an object.
#[derive(Debug)]
pub(super) struct Fields(BTreeMap<String, Field>);

/// The field is there and is no string.
#[derive(Debug)]
pub(super) struct NotText;

impl Fields {
    /// Parses the bytes of one object.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Bad> {
        let mut found = None;
        let mut parser = serde_json::Deserializer::from_slice(bytes);
        let fields = Level { depth: 0, found: &mut found }
            .deserialize(&mut parser)
            .and_then(|parsed| parser.end().map(|()| parsed));
        match fields {
            Ok(Parsed::Object(fields)) => Ok(Self(fields)),
            Ok(Parsed::Field(_)) => Err(Bad::NotObject),
            Err(error) => {
                Err(found.unwrap_or(Bad::Syntax { line: error.line(), column: error.column() }))
            }
        }
    }

    /// The text of a field; `None` when it is absent or null.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, NotText> {
        match self.0.get(name) {
            None | Some(Field::Null) => Ok(None),
            Some(Field::Text(text)) => Ok(Some(text)),
            Some(Field::Other) => Err(NotText),
        }
    }
}

enum Parsed {
    /// The body itself.
    Object(BTreeMap<String, Field>),
    /// Anything else: at the top, or inside.
    Field(Field),
}

/// One level of the document; `found` tells faults that serde's error cannot carry.
struct Level<'f> {
    depth: usize,
    found: &'f mut Option<Bad>,
}

impl Level<'_> {
    fn deeper(&mut self) -> Level<'_> {
        Level { depth: self.depth + 1, found: self.found }
    }

    fn fail<E: serde::de::Error>(&mut self, bad: Bad) -> E {
        let error = E::custom(&bad);
        *self.found = Some(bad);
        error
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = Parsed;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parsed, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Parsed, A::Error> {
        if self.depth >= MAX_DEPTH {
            return Err(self.fail(Bad::TooDeep));
        }
        let mut fields = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if fields.contains_key(&name) {
                return Err(self.fail(Bad::RepeatedKey));
            }
            let field = match map.next_value_seed(self.deeper())? {
                Parsed::Object(_) => Field::Other,
                Parsed::Field(field) => field,
            };
            fields.insert(name, field);
        }
        Ok(Parsed::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Parsed, A::Error> {
        if self.depth >= MAX_DEPTH {
            return Err(self.fail(Bad::TooDeep));
        }
        while list.next_element_seed(self.deeper())?.is_some() {}
        Ok(Parsed::Field(Field::Other))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Parsed, E> {
        Ok(Parsed::Field(Field::Text(text.to_owned())))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Parsed, E> {
        Ok(Parsed::Field(Field::Text(text)))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Parsed, E> {
        Ok(Parsed::Field(Field::Null))
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Parsed, E> {
        Ok(Parsed::Field(Field::Other))
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Parsed, E> {
        Ok(Parsed::Field(Field::Other))
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Parsed, E> {
        Ok(Parsed::Field(Field::Other))
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Parsed, E> {
        Ok(Parsed::Field(Field::Other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(text: &str) -> Bad {
        Fields::parse(text.as_bytes()).expect_err("refused")
    }

    #[test]
    fn each_fault_is_told_apart() {
        assert_eq!(bad("{\n\"a\" 1}"), Bad::Syntax { line: 2, column: 5 });
        assert_eq!(bad("\"a\""), Bad::NotObject);
        assert_eq!(bad(r#"{"a":1,"b":{},"a":2}"#), Bad::RepeatedKey);
        assert_eq!(bad(r#"{"a":[{"b":1,"b":1}]}"#), Bad::RepeatedKey);
        assert_eq!(bad(&format!("{{\"a\":{}", "[".repeat(90))), Bad::TooDeep);
        assert_eq!(bad(&"{\"a\":".repeat(90)), Bad::TooDeep);
        assert!(matches!(bad("{}{}"), Bad::Syntax { .. }));
    }

    #[test]
    fn texts_nulls_and_others() {
        let fields = Fields::parse(r#"{"a":"\u4e2d","b":null,"c":1.5,"d":{"a":"x"}}"#.as_bytes())
            .expect("an object");
        assert_eq!(fields.text("a").expect("text"), Some("中"));
        assert_eq!(fields.text("b").expect("null"), None);
        assert_eq!(fields.text("x").expect("absent"), None);
        assert!(fields.text("c").is_err() && fields.text("d").is_err());
    }
}
