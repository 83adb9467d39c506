//! Licences as lines of CSV (RFC 4180): the same columns on the page and on the command line.

/// The columns of the export: the fields of a licence, as the API names them.
pub const LICENSE_FIELDS: [&str; 13] = [
    "code",
    "state",
    "expires_at",
    "marketplace_status",
    "marketplace_checked_at",
    "frozen_since",
    "registered_at",
    "activated_at",
    "order_id",
    "product_id",
    "next_activation_at",
    "last_error_code",
    "note",
];

/// One record as a line, quoted where needed.
pub fn csv_line<'a>(fields: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = fields
        .into_iter()
        .map(|field| {
            if field.contains([',', '"', '\n', '\r']) {
                format!("\"{}\"", field.replace('"', "\"\""))
            } else {
                field.to_owned()
            }
        })
        .collect();
    quoted.join(",") + "\r\n"
}
