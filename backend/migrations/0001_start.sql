-- Models by name; their files lie under models/<hash>/. A tuned model names its base and holds only an adapter.
CREATE TABLE models (
    id           TEXT PRIMARY KEY NOT NULL,
    hash         TEXT NOT NULL,
    created      INTEGER NOT NULL,
    owned_by     TEXT NOT NULL,
    base         TEXT,
    base_hash    TEXT,
    job          TEXT,
    format       TEXT NOT NULL,
    bytes        INTEGER NOT NULL,
    parameters   INTEGER NOT NULL,
    architecture TEXT NOT NULL,
    context      INTEGER NOT NULL,
    chat         INTEGER NOT NULL,
    -- Checkpoints of a job answer by name but are not listed.
    listed       INTEGER NOT NULL
);
CREATE INDEX models_by_base ON models (base);

CREATE TABLE files (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT UNIQUE NOT NULL,
    bytes      INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    filename   TEXT NOT NULL,
    purpose    TEXT NOT NULL
);

CREATE TABLE jobs (
    number            INTEGER PRIMARY KEY AUTOINCREMENT,
    id                TEXT UNIQUE NOT NULL,
    created_at        INTEGER NOT NULL,
    finished_at       INTEGER,
    status            TEXT NOT NULL,
    request           TEXT NOT NULL,
    model_hash        TEXT NOT NULL,
    seed              INTEGER NOT NULL,
    spec              TEXT,
    report            TEXT,
    validation_report TEXT,
    error             TEXT,
    fine_tuned_model  TEXT,
    result_file       TEXT,
    trained_tokens    INTEGER,
    step              INTEGER NOT NULL DEFAULT 0,
    total_steps       INTEGER,
    estimated_finish  INTEGER,
    attempt           INTEGER NOT NULL DEFAULT 0,
    -- Attempts that died since the last step that was new.
    losses            INTEGER NOT NULL DEFAULT 0,
    lease_owner       TEXT,
    lease_until       INTEGER
);
CREATE INDEX jobs_by_status ON jobs (status, number);

-- Numbered from 1 without gaps. The key makes a repeated event (a step done again after a crash) fall away.
CREATE TABLE events (
    job        TEXT NOT NULL,
    seq        INTEGER NOT NULL,
    key        TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    level      TEXT NOT NULL,
    kind       TEXT NOT NULL,
    message    TEXT NOT NULL,
    data       TEXT,
    PRIMARY KEY (job, seq),
    UNIQUE (job, key)
) WITHOUT ROWID;

CREATE TABLE checkpoints (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT UNIQUE NOT NULL,
    job        TEXT NOT NULL,
    step       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    model      TEXT NOT NULL,
    metrics    TEXT NOT NULL,
    UNIQUE (job, step)
);

CREATE TABLE idempotency (
    key        TEXT PRIMARY KEY NOT NULL,
    body_hash  TEXT NOT NULL,
    job        TEXT NOT NULL,
    created_at INTEGER NOT NULL
);

CREATE TABLE api_keys (
    id         TEXT PRIMARY KEY NOT NULL,
    name       TEXT NOT NULL,
    hash       TEXT UNIQUE NOT NULL,
    created_at INTEGER NOT NULL
);
