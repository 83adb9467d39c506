ALTER TABLE callback ADD COLUMN doctor TEXT;

CREATE TABLE diagnosis (
    cause    TEXT    NOT NULL PRIMARY KEY,
    since    INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    refusals INTEGER NOT NULL,
    proven   INTEGER NOT NULL CHECK (proven IN (0, 1)),
    text     TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
