-- Two levels of hashes, chains over callbacks, and what evidence needs. What the columns mean: schema.sql.
-- The links are made by src/store/relink.rs.
ALTER TABLE event ADD COLUMN request_id TEXT;
CREATE INDEX event_by_order ON event (order_id, id) WHERE order_id IS NOT NULL;
CREATE INDEX event_by_kind ON event (kind, id);
CREATE INDEX event_by_source ON event (source, id);
CREATE TABLE event_hour (
    first_id INTEGER PRIMARY KEY,
    hour     INTEGER NOT NULL
) STRICT;
INSERT INTO event_hour SELECT id, at / 3600000 FROM event
    WHERE at / 3600000 IS NOT (SELECT before.at / 3600000 FROM event AS before WHERE before.id = event.id - 1);
ALTER TABLE callback ADD COLUMN request_id TEXT;
ALTER TABLE callback ADD COLUMN head TEXT;
ALTER TABLE callback ADD COLUMN reply BLOB;
ALTER TABLE callback ADD COLUMN clock_skew_ms INTEGER;
ALTER TABLE callback ADD COLUMN hash BLOB NOT NULL DEFAULT x'';
UPDATE callback SET hash = zeroblob(32);
CREATE TABLE chain (
    name        TEXT    NOT NULL PRIMARY KEY CHECK (name IN ('events','callbacks','test-callbacks')),
    anchor_id   INTEGER NOT NULL,
    anchor_hash BLOB    NOT NULL,
    head_id     INTEGER NOT NULL,
    head_hash   BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
