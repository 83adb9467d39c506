//! How data is shown: aligned tables and lists of facts, or JSON.
//!
//! Invariant: no control character of the data reaches a terminal.

use serde_json::Value;
use std::io::{self, BufWriter, Write};

/// What stands for nothing.
const NOTHING: &str = "-";

/// A column: its heading, and the key (or `a.b`) of the value.
pub(super) type Column = (&'static str, &'static str);

/// Standard output, to be flushed by [`done`].
pub(super) fn out() -> BufWriter<io::StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// Prints one JSON document.
pub(super) fn json(document: &Value) -> anyhow::Result<()> {
    let mut out = out();
    serde_json::to_writer_pretty(&mut out, document)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Prints a line. Unlike `println!` it does not panic when nobody reads any more.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout().lock(), "{text}")?)
}

/// Prints items as an aligned table.
pub(super) fn table(columns: &[Column], items: &[Value]) -> anyhow::Result<()> {
    let mut rows = vec![columns.iter().map(|(heading, _)| (*heading).to_owned()).collect()];
    rows.extend(items.iter().map(|item| row(columns, item)));
    let mut out = out();
    out.write_all(aligned(&rows).as_bytes())?;
    Ok(out.flush()?)
}

/// Prints labels and values, one on each line; without a value the line is left out.
pub(super) fn facts(facts: &[Column], item: &Value) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> = facts
        .iter()
        .map(|(label, key)| vec![(*label).to_owned(), cell(item, key)])
        .filter(|row| row[1] != NOTHING)
        .collect();
    let mut out = out();
    out.write_all(aligned(&rows).as_bytes())?;
    Ok(out.flush()?)
}

/// Tells on stderr that a list was cut.
pub(super) fn more(cut: bool) {
    if cut {
        eprintln!("(there is more: raise --limit; 0 means all)");
    }
}

fn row(columns: &[Column], item: &Value) -> Vec<String> {
    columns.iter().map(|(_, key)| cell(item, key)).collect()
}

/// The text of one value of an item.
pub(super) fn cell(item: &Value, key: &str) -> String {
    let found = key.split('.').fold(item, |value, part| &value[part]);
    match found {
        Value::Null => NOTHING.to_owned(),
        Value::String(text) if text.is_empty() => NOTHING.to_owned(),
        Value::String(text) => harmless(text),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => harmless(&found.to_string()),
    }
}

/// A text with its control characters shown instead of obeyed. Codes, orders and bodies come from
/// outside and could move the cursor or clear the screen.
pub(super) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let overrides = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || overrides {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|n| {
            rows.iter().filter_map(|row| row.get(n)).map(|text| width(text)).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width_of_column) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width_of_column - width(cell) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Columns of a terminal that a text takes: two for Chinese, Japanese, Korean and wide forms.
fn width(text: &str) -> usize {
    let wide = |c: char| {
        matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}'
            | '\u{ffe0}'..='\u{ffe6}' | '\u{1f300}'..='\u{1faff}' | '\u{20000}'..='\u{3fffd}')
    };
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

/// Whether an error only says that nobody reads our output any more.
pub(super) fn reader_has_gone(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json =
            cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_aligned_and_nothing_is_obeyed() {
        let columns: [Column; 3] = [("CODE", "code"), ("NOTE", "note"), ("AT", "facts.at")];
        let items = [
            json!({"code": "A", "note": "客户", "facts": {"at": 7}}),
            json!({"code": "B\u{1b}[2J", "note": null, "facts": {"at": true}}),
        ];
        let rows: Vec<_> = items.iter().map(|item| row(&columns, item)).collect();
        assert_eq!(aligned(&rows), "A           客户  7\nB\\u{1b}[2J  -     yes\n");
    }

    #[test]
    fn a_closed_pipe_is_recognised_through_the_chain() {
        let error = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("x");
        assert!(reader_has_gone(&error));
        assert!(!reader_has_gone(&anyhow::anyhow!("broken pipe")));
    }
}
