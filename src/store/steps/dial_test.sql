-- Dial tests as they were seen here. What the columns mean: schema.sql.
CREATE TABLE dial_test (
    day        INTEGER NOT NULL,
    half       TEXT    NOT NULL CHECK (half IN ('morning','afternoon')),
    first_at   INTEGER NOT NULL,
    last_at    INTEGER NOT NULL,
    calls      INTEGER NOT NULL,
    refused_at INTEGER,
    PRIMARY KEY (day, half)
) STRICT, WITHOUT ROWID;
