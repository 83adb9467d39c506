-- Usage reports. What the columns mean: schema.sql.
CREATE TABLE usage (
    day         INTEGER NOT NULL,
    code        TEXT    NOT NULL,
    client      BLOB    NOT NULL,
    active_num  INTEGER NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('waiting','sending','sent','failed')),
    batch       INTEGER,
    reported_at INTEGER NOT NULL,
    settled_at  INTEGER,
    error_code  TEXT,
    PRIMARY KEY (day, code, client, active_num),
    CHECK ((state = 'sending') = (batch IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_waiting ON usage (code) WHERE state = 'waiting';
CREATE INDEX usage_sending ON usage (batch) WHERE batch IS NOT NULL;
CREATE INDEX usage_failed ON usage (settled_at) WHERE state = 'failed';
CREATE TABLE usage_batch (
    id         INTEGER PRIMARY KEY,
    code       TEXT,
    body       BLOB    NOT NULL,
    made_at    INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    tries      INTEGER NOT NULL,
    error_code TEXT
) STRICT;
