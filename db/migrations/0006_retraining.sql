-- Runs of the retraining: one row each, from its first second.

CREATE TABLE runs (
    key              TEXT PRIMARY KEY,      -- UTC start, such as 2026-11-21T03-00-00Z
    adapter          TEXT NOT NULL,
    state            TEXT NOT NULL CHECK (state IN
        ('running', 'promoted', 'canary', 'rejected', 'skipped', 'failed', 'cancelled')),
    stage            TEXT NOT NULL,         -- the last one that was entered
    stage_at         REAL,                  -- and when
    started_at       REAL NOT NULL,
    finished_at      REAL,
    settings         TEXT NOT NULL,         -- JSON: what was asked for, and the configuration
    stage_times      TEXT NOT NULL,         -- JSON: stage → seconds
    data_hash        TEXT NOT NULL,
    figures          TEXT NOT NULL,         -- JSON
    verdict          TEXT NOT NULL,         -- JSON: of the gate
    reason           TEXT NOT NULL,         -- one sentence
    challenger       TEXT,                  -- name@version
    champion         TEXT,                  -- name@version, or base
    report           TEXT,                  -- its folder
    pid              INTEGER NOT NULL,      -- of the process that worked on it last
    cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1)),
    announced_at     REAL                   -- when the operators were told
) STRICT, WITHOUT ROWID;

CREATE INDEX runs_by_start ON runs (started_at, key);
CREATE INDEX runs_unfinished ON runs (state) WHERE state = 'running';
CREATE INDEX runs_unannounced ON runs (finished_at)
    WHERE announced_at IS NULL AND finished_at IS NOT NULL;
