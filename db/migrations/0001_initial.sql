-- Channels with the settings that were made for them, and what was said in them.
-- Times are Unix seconds in UTC.

CREATE TABLE channels (
    id          INTEGER PRIMARY KEY,
    key         TEXT    NOT NULL UNIQUE,     -- the front end's own name: discord:123, terminal:main
    guild_key   TEXT,
    name        TEXT    NOT NULL,
    kind        TEXT    NOT NULL CHECK (kind IN ('guild', 'dm', 'thread', 'terminal')),
    persona     TEXT,                        -- NULL in these three: the default of the configuration
    adapter     TEXT,
    mode        TEXT,
    sampling    TEXT    NOT NULL DEFAULT '{}',  -- JSON object of only what was set for this channel
    scene_start INTEGER NOT NULL DEFAULT 0,  -- messages up to this id belong to earlier scenes
    heard_up_to INTEGER                      -- newest Discord id heard; deletions do not lower it
) STRICT;

-- AUTOINCREMENT: the id of a deleted message must not come back, since scene_start compares ids.
CREATE TABLE messages (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    channel_id    INTEGER NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    role          TEXT    NOT NULL CHECK (role IN ('user', 'character')),
    author_key    TEXT    NOT NULL,
    author_name   TEXT    NOT NULL,
    content       TEXT    NOT NULL,
    created_at    REAL    NOT NULL,
    edited_at     REAL,
    reply_to      INTEGER REFERENCES messages (id) ON DELETE SET NULL,
    persona       TEXT,
    adapter       TEXT,
    sampling      TEXT,                      -- JSON object
    answer        TEXT    NOT NULL DEFAULT 'none'
                  CHECK (answer IN ('none', 'owed', 'answered', 'failed')),
    state         TEXT    NOT NULL DEFAULT 'complete' CHECK (state IN ('complete', 'streaming')),
    finish_reason TEXT,
    answers       INTEGER,                   -- id of the question, kept when the question is deleted
    -- A reply was written knowing what stood up to its question, so it belongs right behind it,
    -- even if other messages arrived while it was being written.
    place         INTEGER NOT NULL GENERATED ALWAYS AS (coalesce(min(answers, id), id)) VIRTUAL,
    CHECK (role = 'user' OR answer = 'none'),
    CHECK (role = 'character' OR (state = 'complete' AND answers IS NULL))
) STRICT;

CREATE INDEX messages_in_place ON messages (channel_id, place);
CREATE INDEX messages_owed ON messages (created_at) WHERE answer = 'owed';
CREATE INDEX messages_owed_in_channel ON messages (channel_id, created_at) WHERE answer = 'owed';
CREATE INDEX messages_by_author ON messages (author_key);
CREATE INDEX messages_by_reply_to ON messages (reply_to) WHERE reply_to IS NOT NULL;

-- The Discord posts that show a message: one for a user's, one or more for a long reply.
CREATE TABLE posts (
    post_id    INTEGER PRIMARY KEY,
    message_id INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    position   INTEGER NOT NULL,
    UNIQUE (message_id, position)
) STRICT;
