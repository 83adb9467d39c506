-- The tables of alarms and of the messages about them. What their columns mean: schema.sql.
CREATE TABLE alarm (
    id              INTEGER PRIMARY KEY,
    cause           TEXT    NOT NULL,
    kind            TEXT    NOT NULL,
    severity        TEXT    NOT NULL CHECK (severity IN ('warning','high','emergency')),
    code            TEXT,
    text            TEXT    NOT NULL,
    what_to_do      TEXT    NOT NULL,
    since           INTEGER NOT NULL,
    last_seen       INTEGER NOT NULL,
    seen            INTEGER NOT NULL,
    reopened        INTEGER NOT NULL,
    told_at         INTEGER,
    told_severity   TEXT,
    cleared_at      INTEGER,
    over_at         INTEGER,
    acknowledged_at INTEGER,
    acknowledged    TEXT,
    CHECK ((told_at IS NULL) = (told_severity IS NULL)),
    CHECK ((acknowledged_at IS NULL) = (acknowledged IS NULL))
) STRICT;
CREATE INDEX alarm_by_cause ON alarm (cause, id);
CREATE UNIQUE INDEX alarm_open ON alarm (cause) WHERE cleared_at IS NULL;
CREATE INDEX alarm_cleared ON alarm (cleared_at) WHERE cleared_at IS NOT NULL;

CREATE TABLE notice (
    id         INTEGER PRIMARY KEY,
    message    TEXT    NOT NULL,
    channel    TEXT    NOT NULL,
    alarm      INTEGER NOT NULL,
    phase      TEXT    NOT NULL CHECK (phase IN ('raised','worse','reminder','over')),
    told_at    INTEGER NOT NULL,
    cause      TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    severity   TEXT    NOT NULL,
    code       TEXT,
    text       TEXT    NOT NULL,
    what_to_do TEXT    NOT NULL,
    since      INTEGER NOT NULL,
    first_due  INTEGER NOT NULL,
    due_at     INTEGER,
    tries      INTEGER NOT NULL,
    sent_at    INTEGER,
    error      TEXT,
    UNIQUE (message, channel)
) STRICT;
CREATE INDEX notice_due ON notice (channel, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX notice_by_alarm ON notice (alarm, channel);
