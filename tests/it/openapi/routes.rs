//! Routes and problems as the source has them.

use std::collections::BTreeSet;

/// Every path that a `match` on segments names in this source; parameters are `{}`.
///
/// A route is a slice pattern whose parts are texts, names or `_`. It is told from other lists by what
/// stands behind it: an arrow, a condition, or another pattern.
pub(super) fn of(source: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for (at, _) in source.match_indices("[\"") {
        let rest = &source[at + 1..];
        let Some(end) = rest.find(']') else { continue };
        let behind = rest[end + 1..].trim_start();
        if ["=>", "if ", "|"].iter().any(|sign| behind.starts_with(sign)) {
            expand(&rest[..end], &mut paths);
        }
    }
    assert!(paths.len() > 3, "the routes are written in another way now: correct this test");
    paths
}

/// Adds the paths of one pattern, such as `"v1", "licenses" | "callbacks", _`.
fn expand(pattern: &str, paths: &mut BTreeSet<String>) {
    let mut heads = vec![String::new()];
    for part in pattern.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let words = part.split('|').map(|word| match word.trim().strip_prefix('"') {
            Some(text) => text.trim_end_matches('"').to_owned(),
            None => "{}".to_owned(),
        });
        let words: Vec<String> = words.collect();
        let joined =
            |head: &String| words.iter().map(|word| format!("{head}/{word}")).collect::<Vec<_>>();
        heads = heads.iter().flat_map(joined).collect();
    }
    paths.extend(heads);
}

/// A described path with its parameters' names left out.
pub(super) fn without_names(path: &str) -> String {
    path.split('/')
        .map(|segment| if segment.starts_with('{') { "{}" } else { segment })
        .collect::<Vec<_>>()
        .join("/")
}

/// The name of every problem that this source makes.
pub(super) fn problems(source: &str) -> BTreeSet<String> {
    let made = source.split("Self::new(").skip(1).filter_map(|call| call.split('"').nth(1));
    let names: BTreeSet<String> = made.map(str::to_owned).collect();
    assert!(names.len() > 3, "problems are made in another way now: correct this test");
    names
}

#[test]
fn patterns_are_routes_and_other_lists_are_not() {
    let source = r#"
        match x { ["a"] if get => 1, ["v1", "b" | "c", id] => 2,
            ["v1", "d"]
            | ["v1", "e", _] => 3, _ => 4 }
        let known = ["limit", "cursor"]; f(&["text"]);
    "#;
    let expected = ["/a", "/v1/b/{}", "/v1/c/{}", "/v1/d", "/v1/e/{}"].map(str::to_owned);
    assert_eq!(of(source), BTreeSet::from(expected));
}
