-- The database of authcoded, as a fresh file gets it. What brings an older file here: src/store/schema.rs.
-- All times are INTEGER milliseconds since 1970-01-01T00:00:00Z. All tables are STRICT.

-- One row for each authorization code we know. Facts are separate and never merged.
CREATE TABLE license (
    code                   TEXT    NOT NULL PRIMARY KEY, -- the authorization code, opaque, at most 64 characters
    state                  TEXT    NOT NULL CHECK (state IN ('issued','received','activated','renewed','frozen','released')),
    frozen_since           INTEGER, -- signed timestamp of the FREEZE in force
    frozen_applied_at      INTEGER, -- our clock when that FREEZE was applied
    frozen_from            TEXT    CHECK (frozen_from IN ('issued','received','activated','renewed')), -- the live state it interrupted
    frozen_expiry          INTEGER, -- expires_at at that moment
    expires_text           TEXT,    -- yyyyMMddHHmmss as the marketplace sent it, without a zone
    expires_at             INTEGER, -- that text in the configured zone
    end_confirmed_at       INTEGER, -- when the marketplace confirmed that the validity has ended
    marketplace_status     TEXT    NOT NULL CHECK (marketplace_status IN ('alive','expired','released','unknown')),
    marketplace_checked_at INTEGER, -- when the last usable answer was asked for
    ask_failed_at          INTEGER, -- when a query last got no usable answer, if none succeeded since
    renewals_in_force      INTEGER NOT NULL CHECK (renewals_in_force >= 0), -- renewals minus un-renewals
    registered_at          INTEGER NOT NULL, -- when we learnt of the code
    activated_at           INTEGER, -- when the marketplace first confirmed an activation
    status_signed_at       INTEGER, -- signed timestamp of the last FREEZE or UNFREEZE that was not stale
    callback_at            INTEGER, -- our clock when a callback last concerned the row
    buyer_waits            INTEGER NOT NULL CHECK (buyer_waits >= 0), -- how often 92020004 was answered
    last_error_code        TEXT,    -- the last marketplace code that was not a success
    order_id               TEXT,    -- the purchase's order
    product_id             TEXT,    -- the product bought
    note                   TEXT,    -- an operator's remark
    CHECK ((state = 'frozen') = (frozen_since IS NOT NULL AND frozen_applied_at IS NOT NULL AND frozen_from IS NOT NULL)),
    CHECK ((expires_text IS NULL) = (expires_at IS NULL))
) STRICT, WITHOUT ROWID;

-- How many codes are in each state: kept beside the rows, because counting a million takes long.
CREATE TABLE license_count (
    state TEXT    NOT NULL PRIMARY KEY, -- a state
    n     INTEGER NOT NULL              -- codes in it
) STRICT, WITHOUT ROWID;

-- What happened, append-only. Each row is a link of a chain (table chain).
CREATE TABLE event (
    id          INTEGER PRIMARY KEY, -- counts up by one
    at          INTEGER NOT NULL,    -- our clock
    code        TEXT,                -- the code concerned
    kind        TEXT    NOT NULL,    -- what happened (product vocabulary)
    source      TEXT    NOT NULL,    -- callback, activation, query, operator, software or timer
    from_state  TEXT,                -- the state before, when a state is concerned
    to_state    TEXT,                -- the state after
    order_id    TEXT,                -- the order concerned
    result_code TEXT,                -- the code the marketplace or we answered
    detail      TEXT    NOT NULL,    -- for people
    hash        BLOB    NOT NULL,    -- SHA-256 over the previous hash and the digest of the other columns
    request_id  TEXT                 -- the request that caused it, as in the log
) STRICT;
CREATE INDEX event_by_code ON event (code, id) WHERE code IS NOT NULL;
CREATE INDEX event_by_order ON event (order_id, id) WHERE order_id IS NOT NULL;
CREATE INDEX event_by_kind ON event (kind, id);
CREATE INDEX event_by_source ON event (source, id);

-- Where in the events an hour of our clock begins, each time that it does: the events from one row's id up to
-- the next one's are of that row's hour. It finds a time without an index over all events.
CREATE TABLE event_hour (
    first_id INTEGER PRIMARY KEY, -- the first event of a row of events in one hour
    hour     INTEGER NOT NULL     -- its time in hours since 1970-01-01T00:00:00Z
) STRICT;

-- The inbox: each callback that came, what was decided and what was answered.
CREATE TABLE callback (
    id          INTEGER PRIMARY KEY, -- counts up
    received_at INTEGER NOT NULL,    -- our clock
    activity    TEXT    NOT NULL,    -- as sent; '' when it could not be read
    code        TEXT,                -- the code concerned
    test        INTEGER NOT NULL CHECK (test IN (0, 1)), -- testFlag
    signed_at   INTEGER,             -- the signed timestamp; NULL when nothing was verified
    verdict     TEXT    NOT NULL CHECK (verdict IN ('applied','repeated','stale','orphan','test','refused')),
    result_code TEXT    NOT NULL,    -- what was answered
    detail      TEXT    NOT NULL,    -- why, for people
    duration_ms INTEGER NOT NULL,    -- from the last byte of the request to the decision
    settled_at  INTEGER,             -- an orphan's end: when it was applied or given up
    body        BLOB    NOT NULL,    -- the bytes as received; cut at 4 KiB when nothing was verified
    doctor      TEXT,                -- why the signature did not hold: a word of the signature doctor; NULL when it was not asked
    request_id  TEXT,                -- the request, as in the log
    head        TEXT,                -- JSON {method, target, headers, omitted}: as received, secrets as their SHA-256; NULL: an earlier version
    reply       BLOB,                -- the bytes of the answer
    clock_skew_ms INTEGER,           -- our clock minus the marketplace's, if it was known
    hash        BLOB    NOT NULL DEFAULT x'' -- SHA-256 over the previous hash of its chain and the digest of the columns but settled_at
) STRICT;
CREATE INDEX callback_by_code ON callback (code, id) WHERE code IS NOT NULL;
CREATE INDEX callback_orphan ON callback (code, id) WHERE verdict = 'orphan' AND settled_at IS NULL;

-- Where each chain begins and ends: an event, a callback, and test traffic is a link of its own chain.
CREATE TABLE chain (
    name        TEXT    NOT NULL PRIMARY KEY CHECK (name IN ('events','callbacks','test-callbacks')),
    anchor_id   INTEGER NOT NULL, -- the last row that was forgotten; 0 when none was
    anchor_hash BLOB    NOT NULL, -- its hash, from which the rest is reckoned
    head_id     INTEGER NOT NULL, -- the newest row
    head_hash   BLOB    NOT NULL  -- its hash
) STRICT, WITHOUT ROWID;

-- Why signatures do not hold: each cause with its present run of refusals.
CREATE TABLE diagnosis (
    cause    TEXT    NOT NULL PRIMARY KEY, -- a word of the signature doctor
    since    INTEGER NOT NULL, -- the run's first refusal
    last_at  INTEGER NOT NULL, -- its last one; an hour later the cause is taken for gone
    refusals INTEGER NOT NULL, -- how many of the run were examined
    proven   INTEGER NOT NULL CHECK (proven IN (0, 1)), -- a key of ours made one of the signatures
    text     TEXT    NOT NULL  -- what was found last, for people
) STRICT, WITHOUT ROWID;

-- Nonces seen, with the answer to give again. Rows older than the replay window are pruned.
CREATE TABLE replay (
    signed_at   INTEGER NOT NULL, -- the signed timestamp
    nonce       TEXT    NOT NULL, -- the nonce, decoded once
    body_digest BLOB    NOT NULL, -- SHA-256 of the body: the same nonce with another body is refused
    result_code TEXT    NOT NULL, -- the stored answer
    PRIMARY KEY (signed_at, nonce)
) STRICT, WITHOUT ROWID;

-- Orders that have had their effect: the renewals ledger, and what makes a repeat harmless.
CREATE TABLE ledger (
    code          TEXT    NOT NULL, -- the code
    scene         TEXT    NOT NULL CHECK (scene IN ('RENEWAL','UNSUBSCRIBE_RENEWAL_PERIOD','RELEASE')),
    order_id      TEXT    NOT NULL, -- '' for a release without an order
    order_line_id TEXT    NOT NULL, -- '' for a release
    expires_text  TEXT,             -- the expiry it set
    content       BLOB    NOT NULL, -- SHA-256 of the meaningful fields: another content is a contradiction
    result_code   TEXT    NOT NULL, -- the stored answer
    at            INTEGER NOT NULL, -- our clock when it was done or parked
    PRIMARY KEY (code, scene, order_id, order_line_id)
) STRICT, WITHOUT ROWID;

-- Marketplace calls we owe. A row with sent_at is an open intent: the call may have been made.
CREATE TABLE outbox (
    code       TEXT    NOT NULL, -- the code to call about
    call       TEXT    NOT NULL CHECK (call IN ('activate','query','query_again')),
    due_at     INTEGER NOT NULL, -- not before
    attempts   INTEGER NOT NULL, -- tries that got no usable answer
    sent_at    INTEGER,          -- when the call left, if its answer is not known
    created_at INTEGER NOT NULL, -- when it became owed
    PRIMARY KEY (code, call)
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_due ON outbox (due_at);

-- Orders that the marketplace told us of (orderNotify), and what it answered when asked about them.
CREATE TABLE order_notice (
    id              INTEGER PRIMARY KEY, -- counts up
    order_id        TEXT    NOT NULL UNIQUE, -- the order
    order_line_id   TEXT,             -- its line, if the notice named one
    notified_at     INTEGER NOT NULL, -- our clock when we were first told
    result_code     TEXT    NOT NULL, -- what was answered then, and is answered to a repeat
    query_due_at    INTEGER,          -- the order query is owed, not before this; NULL when it is not owed
    attempts        INTEGER NOT NULL, -- queries that got no usable answer, since the last one that did
    queried_at      INTEGER,          -- when the last usable answer was asked for
    kind            TEXT,             -- orderType as answered: NEW, RENEW, …
    created_at      INTEGER,          -- when it was placed
    product_id      TEXT,             -- the product of its line
    ends_at         INTEGER,          -- the end of what was bought
    lines           TEXT    NOT NULL, -- JSON array of {order_line_id, charging_mode, period_type, period_number, expires_at, product_id}
    brings_code     INTEGER NOT NULL CHECK (brings_code IN (0, 1)), -- 0 when its kind says that no code will come with it
    refused         TEXT,             -- why the marketplace does not let us read it; NULL unless it refused for good
    last_error_code TEXT,             -- the marketplace's code, if the last query was not a success
    code            TEXT              -- the first code that came with it, once the worker has seen it
) STRICT;
CREATE INDEX order_notice_due ON order_notice (query_due_at) WHERE query_due_at IS NOT NULL;
CREATE INDEX order_notice_open ON order_notice (notified_at) WHERE code IS NULL AND refused IS NULL AND brings_code = 1;
CREATE INDEX license_by_order ON license (order_id) WHERE order_id IS NOT NULL;

-- Each run of a job. A slot runs once.
CREATE TABLE job_run (
    id       INTEGER PRIMARY KEY, -- counts up
    job      TEXT    NOT NULL,    -- heartbeat, activation, reconcile, usage, upkeep
    slot     TEXT    NOT NULL,    -- the slot's name, or 'manual …', 'start …' or 'again …'
    due      INTEGER NOT NULL,    -- when it was due
    started  INTEGER NOT NULL,    -- our clock
    finished INTEGER,             -- NULL while running, or when the process died in it
    outcome  TEXT,                -- ok, failed or interrupted
    counts   TEXT,                -- JSON: what it did
    UNIQUE (job, slot)
) STRICT;
CREATE INDEX job_run_by_job ON job_run (job, id);

-- Availability heartbeats with every step.
CREATE TABLE probe (
    id               INTEGER PRIMARY KEY, -- counts up
    slot             TEXT    NOT NULL,    -- the slot's name, or 'manual …' / 'start …'
    started_at       INTEGER NOT NULL,    -- our clock
    outcome          TEXT    NOT NULL CHECK (outcome IN ('ok','slow','failed')),
    steps            TEXT    NOT NULL,    -- JSON array of {name, outcome, status, duration_ms, detail, what_to_do}
    certificate_days INTEGER              -- days until the served certificate ends
) STRICT;

-- The marketplace's dial tests as they were seen here: test traffic that is not our own heartbeat's.
CREATE TABLE dial_test (
    day        INTEGER NOT NULL, -- the Beijing day, counted from 1970-01-01
    half       TEXT    NOT NULL CHECK (half IN ('morning','afternoon')), -- of that day
    first_at   INTEGER NOT NULL, -- our clock when its first call came
    last_at    INTEGER NOT NULL, -- and its last
    calls      INTEGER NOT NULL, -- its calls
    refused_at INTEGER,          -- when a call was last answered other than 000000, if one was
    PRIMARY KEY (day, half)
) STRICT, WITHOUT ROWID;

-- What the software reported of its use: each client once per code and day, and the greatest count.
CREATE TABLE usage (
    day         INTEGER NOT NULL, -- the Beijing day on which it was reported, counted from 1970-01-01
    code        TEXT    NOT NULL, -- the code that was used
    client      BLOB    NOT NULL, -- the client's keyed hash; empty for a count
    active_num  INTEGER NOT NULL, -- how many clients were active that day; 0 for a client
    state       TEXT    NOT NULL CHECK (state IN ('waiting','sending','sent','failed')), -- failed: given up
    batch       INTEGER,          -- the usage_batch it is sent with, while it is
    reported_at INTEGER NOT NULL, -- our clock
    settled_at  INTEGER,          -- when it was sent or given up
    error_code  TEXT,             -- why it was given up, as the marketplace numbers it
    PRIMARY KEY (day, code, client, active_num),
    CHECK ((state = 'sending') = (batch IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_waiting ON usage (code) WHERE state = 'waiting';
CREATE INDEX usage_sending ON usage (batch) WHERE batch IS NOT NULL;
CREATE INDEX usage_failed ON usage (settled_at) WHERE state = 'failed';

-- Reports to the marketplace whose end is not known: each is sent again as it is until it is.
CREATE TABLE usage_batch (
    id         INTEGER PRIMARY KEY, -- counts up
    code       TEXT,                -- its only code, when it was refused for that and waits to be sent again
    body       BLOB    NOT NULL,    -- what is sent, byte by byte
    made_at    INTEGER NOT NULL,    -- when its entries were first put together
    due_at     INTEGER NOT NULL,    -- not before
    tries      INTEGER NOT NULL,    -- how often it got no usable answer, or was refused
    error_code TEXT                 -- the last answer's code
) STRICT;

-- Each time that a cause was wrong. What is wrong now is looked at anew; this is since when, and who was told.
CREATE TABLE alarm (
    id              INTEGER PRIMARY KEY, -- counts up; one for each time that a cause was wrong
    cause           TEXT    NOT NULL,    -- the same for the same cause
    kind            TEXT    NOT NULL,    -- what kind of trouble
    severity        TEXT    NOT NULL CHECK (severity IN ('warning','high','emergency')), -- when last seen
    code            TEXT,                -- the code concerned
    text            TEXT    NOT NULL,    -- what is wrong, when last seen
    what_to_do      TEXT    NOT NULL,    -- the remedy
    since           INTEGER NOT NULL,    -- since when it is wrong
    last_seen       INTEGER NOT NULL,    -- our clock when it was last found
    seen            INTEGER NOT NULL,    -- how many looks found it
    reopened        INTEGER NOT NULL,    -- how often it came back before it could be told of again
    told_at         INTEGER,             -- when somebody was last told that it is wrong
    told_severity   TEXT,                -- and with which severity
    cleared_at      INTEGER,             -- when it was found gone; NULL while it is wrong
    over_at         INTEGER,             -- when it is or was told that it is over; NULL while people take it for wrong
    acknowledged_at INTEGER,             -- when somebody said that they look after it; ends reminders
    acknowledged    TEXT,                -- and why
    CHECK ((told_at IS NULL) = (told_severity IS NULL)),
    CHECK ((acknowledged_at IS NULL) = (acknowledged IS NULL))
) STRICT;
CREATE INDEX alarm_by_cause ON alarm (cause, id);
CREATE UNIQUE INDEX alarm_open ON alarm (cause) WHERE cleared_at IS NULL;
CREATE INDEX alarm_cleared ON alarm (cleared_at) WHERE cleared_at IS NOT NULL;

-- Messages about alarms on their way to people: one row for each message and channel.
CREATE TABLE notice (
    id         INTEGER PRIMARY KEY, -- counts up
    message    TEXT    NOT NULL,    -- the message's own id, the same on every channel and at every try
    channel    TEXT    NOT NULL,    -- the channel's name in the configuration
    alarm      INTEGER NOT NULL,    -- the alarm it tells of
    phase      TEXT    NOT NULL CHECK (phase IN ('raised','worse','reminder','over')),
    told_at    INTEGER NOT NULL,    -- our clock when it became true
    cause      TEXT    NOT NULL,    -- the rest: the alarm as it was then
    kind       TEXT    NOT NULL,
    severity   TEXT    NOT NULL,
    code       TEXT,
    text       TEXT    NOT NULL,
    what_to_do TEXT    NOT NULL,
    since      INTEGER NOT NULL,
    first_due  INTEGER NOT NULL,    -- not before
    due_at     INTEGER,             -- the next try; NULL when it has ended
    tries      INTEGER NOT NULL,    -- tries that failed
    sent_at    INTEGER,             -- when the channel took it
    error      TEXT,                -- why the last try failed
    UNIQUE (message, channel)
) STRICT;
CREATE INDEX notice_due ON notice (channel, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX notice_by_alarm ON notice (alarm, channel);

-- Facts of the whole installation.
CREATE TABLE fact (
    name  TEXT NOT NULL PRIMARY KEY, -- marketplace_stopped_until, …
    value TEXT NOT NULL              -- its text
) STRICT, WITHOUT ROWID;

-- Calls that failed: each one that was authentic and not answered 000000, and apart from them those that
-- could not be proved authentic. A call has one row, however often it fails.
CREATE TABLE retry_window (
    id            INTEGER PRIMARY KEY, -- counts up
    activity      TEXT    NOT NULL, -- as sent; '' when it is none that we know
    code          TEXT    NOT NULL, -- the code; '' when it names none
    order_id      TEXT    NOT NULL, -- the order; '' when it names none
    order_line_id TEXT    NOT NULL, -- its line; '' when it names none
    scene         TEXT    NOT NULL, -- RENEWAL, FREEZE, …; '' for a release and an order notification
    digest        BLOB    NOT NULL, -- SHA-256 of a body that names neither; else empty
    authentic     INTEGER NOT NULL CHECK (authentic IN (0, 1)), -- whether any attempt was
    result_code   TEXT    NOT NULL, -- what the last attempt was answered
    attempts      INTEGER NOT NULL, -- attempts seen in this round of retries
    first_at      INTEGER NOT NULL, -- our clock at the first of them
    last_at       INTEGER NOT NULL, -- our clock at the last of them
    state         TEXT    NOT NULL CHECK (state IN ('open','restart','settled','dismissed')),
    given_up_at   INTEGER,          -- when the window first closed without success
    ended_at      INTEGER,          -- when it was settled or dismissed
    reason        TEXT,             -- why an operator dismissed it
    UNIQUE (code, order_id, activity, scene, order_line_id, digest)
) STRICT;
CREATE INDEX retry_window_live ON retry_window (state) WHERE state IN ('open','restart');
CREATE INDEX retry_window_given_up ON retry_window (given_up_at) WHERE given_up_at IS NOT NULL;

-- Times in which the marketplace's calls may not have reached us.
CREATE TABLE deaf_gap (
    id          INTEGER PRIMARY KEY, -- counts up
    from_at     INTEGER NOT NULL, -- when we last heard before it
    until_at    INTEGER NOT NULL, -- when we heard again
    causes      TEXT    NOT NULL, -- why: down, paused, not_stored, clock, not_authentic
    before_id   INTEGER,          -- the last authentic callback before it
    settled_at  INTEGER,          -- when every code had been compared with the marketplace since
    asked       INTEGER NOT NULL, -- codes compared until then, sweep by sweep
    repaired    INTEGER NOT NULL  -- those whose answer told what we did not know
) STRICT;
CREATE INDEX deaf_gap_open ON deaf_gap (id) WHERE settled_at IS NULL;

-- Calls that must have been made in a gap, because the marketplace holds what only they would have told.
CREATE TABLE missed_call (
    gap        INTEGER NOT NULL, -- the deaf_gap
    code       TEXT    NOT NULL, -- the code
    scene      TEXT    NOT NULL CHECK (scene IN ('RENEWAL','UNSUBSCRIBE_RENEWAL_PERIOD','RELEASE')),
    found_at   INTEGER NOT NULL, -- our clock when the answer came
    arrived_at INTEGER,          -- when such a call came after all
    PRIMARY KEY (gap, code, scene)
) STRICT, WITHOUT ROWID;
CREATE INDEX missed_call_open ON missed_call (code) WHERE arrived_at IS NULL;
