-- The table of orders that the marketplace tells of. What its columns mean: schema.sql.
CREATE TABLE order_notice (
    id              INTEGER PRIMARY KEY,
    order_id        TEXT    NOT NULL UNIQUE,
    order_line_id   TEXT,
    notified_at     INTEGER NOT NULL,
    result_code     TEXT    NOT NULL,
    query_due_at    INTEGER,
    attempts        INTEGER NOT NULL,
    queried_at      INTEGER,
    kind            TEXT,
    created_at      INTEGER,
    product_id      TEXT,
    ends_at         INTEGER,
    lines           TEXT    NOT NULL,
    brings_code     INTEGER NOT NULL CHECK (brings_code IN (0, 1)),
    refused         TEXT,
    last_error_code TEXT,
    code            TEXT
) STRICT;
CREATE INDEX order_notice_due ON order_notice (query_due_at) WHERE query_due_at IS NOT NULL;
CREATE INDEX order_notice_open ON order_notice (notified_at) WHERE code IS NULL AND refused IS NULL AND brings_code = 1;
CREATE INDEX license_by_order ON license (order_id) WHERE order_id IS NOT NULL;
