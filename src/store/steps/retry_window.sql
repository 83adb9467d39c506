-- Failed calls with their retry windows, deaf gaps, and what they cost. What the columns mean: schema.sql.
CREATE TABLE retry_window (
    id            INTEGER PRIMARY KEY,
    activity      TEXT    NOT NULL,
    code          TEXT    NOT NULL,
    order_id      TEXT    NOT NULL,
    order_line_id TEXT    NOT NULL,
    scene         TEXT    NOT NULL,
    digest        BLOB    NOT NULL,
    authentic     INTEGER NOT NULL CHECK (authentic IN (0, 1)),
    result_code   TEXT    NOT NULL,
    attempts      INTEGER NOT NULL,
    first_at      INTEGER NOT NULL,
    last_at       INTEGER NOT NULL,
    state         TEXT    NOT NULL CHECK (state IN ('open','restart','settled','dismissed')),
    given_up_at   INTEGER,
    ended_at      INTEGER,
    reason        TEXT,
    UNIQUE (code, order_id, activity, scene, order_line_id, digest)
) STRICT;
CREATE INDEX retry_window_live ON retry_window (state) WHERE state IN ('open','restart');
CREATE INDEX retry_window_given_up ON retry_window (given_up_at) WHERE given_up_at IS NOT NULL;

CREATE TABLE deaf_gap (
    id          INTEGER PRIMARY KEY,
    from_at     INTEGER NOT NULL,
    until_at    INTEGER NOT NULL,
    causes      TEXT    NOT NULL,
    before_id   INTEGER,
    settled_at  INTEGER,
    asked       INTEGER NOT NULL,
    repaired    INTEGER NOT NULL
) STRICT;
CREATE INDEX deaf_gap_open ON deaf_gap (id) WHERE settled_at IS NULL;

CREATE TABLE missed_call (
    gap        INTEGER NOT NULL,
    code       TEXT    NOT NULL,
    scene      TEXT    NOT NULL CHECK (scene IN ('RENEWAL','UNSUBSCRIBE_RENEWAL_PERIOD','RELEASE')),
    found_at   INTEGER NOT NULL,
    arrived_at INTEGER,
    PRIMARY KEY (gap, code, scene)
) STRICT, WITHOUT ROWID;
CREATE INDEX missed_call_open ON missed_call (code) WHERE arrived_at IS NULL;
