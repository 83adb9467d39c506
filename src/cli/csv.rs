//! Comma-separated values as RFC 4180 has them, which spreadsheets write and read.

pub(super) use crate::http::csv_line as line;

/// One record, with the line it begins on (counted from 1).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) line: usize,
    pub(super) fields: Result<Vec<String>, &'static str>,
}

/// Reads records; blank lines are left out. A record with bad quotes ends with its line.
pub(super) fn parse(text: &str) -> Vec<Record> {
    // Spreadsheets put a byte order mark in front.
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut records, mut line) = (Vec::new(), 1);
    while !rest.is_empty() {
        let (fields, after) = record(rest);
        let taken = &rest[..rest.len() - after.len()];
        if !taken.trim_end_matches(['\r', '\n']).is_empty() {
            records.push(Record { line, fields });
        }
        line += taken.matches('\n').count();
        rest = after;
    }
    records
}

/// One record, and what follows it.
fn record(text: &str) -> (Result<Vec<String>, &'static str>, &str) {
    let (mut fields, mut rest) = (Vec::new(), text);
    loop {
        let Some((field, after)) = field(rest) else {
            return (Err("a quote is not closed"), next_line(text));
        };
        fields.push(field);
        let after = after.strip_prefix('\r').filter(|a| a.starts_with('\n')).unwrap_or(after);
        match after.as_bytes().first() {
            None => return (Ok(fields), after),
            Some(b'\n') => return (Ok(fields), &after[1..]),
            Some(b',') => rest = &after[1..],
            Some(_) => return (Err("text follows a closing quote"), next_line(text)),
        }
    }
}

/// One field, and what follows it; `None` when its quote is not closed.
fn field(text: &str) -> Option<(String, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        return unquoted(quoted);
    }
    let (field, after) = text.split_at(text.find([',', '\n']).unwrap_or(text.len()));
    let ends_the_line = !after.starts_with(',');
    let field = field.strip_suffix('\r').filter(|_| ends_the_line).unwrap_or(field);
    Some((field.to_owned(), after))
}

/// What stands before the closing quote, and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let (mut field, mut rest) = (String::new(), text);
    loop {
        let (before, after) = rest.split_once('"')?;
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Some((field, after)),
        }
    }
}

fn next_line(text: &str) -> &str {
    text.split_once('\n').map_or("", |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(text: &str) -> Vec<(usize, Vec<String>)> {
        let fields = |record: Record| (record.line, record.fields.expect("a good record"));
        parse(text).into_iter().map(fields).collect()
    }

    #[test]
    fn quotes_commas_and_line_ends_survive_the_way_out_and_in() {
        let rows = [vec!["code", "note"], vec!["A", "a,b"], vec!["B", "\"x\"\r\ny"], vec!["", ""]];
        let text: String = rows.iter().map(|row| line(row.iter().copied())).collect();
        let read = good(&format!("\u{feff}{text}"));
        assert_eq!(read.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2, 3, 5]);
        assert!(read.iter().map(|(_, fields)| fields).eq(rows.iter()));
    }

    #[test]
    fn blank_lines_are_left_out_and_lines_are_counted() {
        assert_eq!(
            good("a\n\n\r\nb,\n"),
            [(1, vec!["a".into()]), (4, vec!["b".into(), String::new()])]
        );
    }

    #[test]
    fn bad_quotes_spoil_one_record_only() {
        let records = parse("a\n\"b\nc\n\"d\"e\nf");
        let found: Vec<_> = records.iter().map(|r| (r.line, r.fields.is_ok())).collect();
        assert_eq!(found, [(1, true), (2, false), (3, true), (4, false), (5, true)]);
        let records = parse("\"d\"e\nf");
        let found: Vec<_> = records.iter().map(|r| (r.line, r.fields.is_ok())).collect();
        assert_eq!(found, [(1, false), (2, true)]);
    }
}
