//! Where in the file a key stands, so that a problem can name its line.

use std::path::Path;
use toml::de::{DeTable, DeValue};

/// The text of a configuration file, for looking up lines.
#[derive(Debug)]
pub(super) struct Places(String);

impl Places {
    /// Reads the file again; without it no line is known, and that is no error.
    pub(super) fn of(file: &Path) -> Self {
        Self(std::fs::read_to_string(file).unwrap_or_default())
    }

    /// The line, counted from 1, of a key such as `callback.listen`, or of the `nth` element of its
    /// list; of a section that stands several times, the key of the `nth`. A key that is not written has
    /// none, but its section may.
    pub(super) fn line(&self, key: &str, nth: Option<usize>) -> Option<usize> {
        let table = DeTable::parse(&self.0).ok()?;
        let offset = offset(table.get_ref(), key, nth)?;
        Some(super::position(&self.0, offset).0)
    }
}

fn offset(table: &DeTable<'_>, key: &str, nth: Option<usize>) -> Option<usize> {
    let (first, rest) = key.split_once('.').map_or((key, None), |(a, b)| (a, Some(b)));
    let (name, value) = table.iter().find(|(name, _)| name.get_ref() == first)?;
    match (rest, value.get_ref()) {
        (Some(rest), DeValue::Table(inner)) => {
            Some(offset(inner, rest, nth).unwrap_or(name.span().start))
        }
        (Some(rest), DeValue::Array(sections)) => {
            let section = sections.get(nth.unwrap_or(0))?;
            let DeValue::Table(inner) = section.get_ref() else {
                return Some(section.span().start);
            };
            Some(offset(inner, rest, None).unwrap_or(section.span().start))
        }
        (None, DeValue::Array(items)) => {
            let item = nth.and_then(|nth| items.get(nth));
            Some(item.map_or(name.span().start, |item| item.span().start))
        }
        _ => Some(name.span().start),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_keys_sections_and_elements() {
        let places = Places(
            "data-dir = \"/d\"\n\n[callback]\npath = \"/x\"\nlist = [\n\"a\",\n\"b\"]\n\
             [[notify]]\nname = \"a\"\n[[notify]]\nname = \"b\"\n"
                .into(),
        );
        assert_eq!(places.line("data-dir", None), Some(1));
        assert_eq!(places.line("callback.path", None), Some(4));
        assert_eq!(places.line("callback.list", Some(1)), Some(7));
        assert_eq!(places.line("callback.absent", None), Some(3));
        assert_eq!(places.line("admin.listen", None), None);
        assert_eq!(places.line("notify.name", Some(1)), Some(11));
        assert_eq!(places.line("notify.kind", Some(1)), Some(10));
    }
}
