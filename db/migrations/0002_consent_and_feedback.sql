-- Who agreed that what is said may be learnt from, what people think of replies, and where every
-- scene began. Times are Unix seconds in UTC.

ALTER TABLE channels ADD COLUMN parent_key TEXT;  -- of a thread: the key of the channel it hangs under
ALTER TABLE channels ADD COLUMN training INTEGER CHECK (training IN (0, 1));  -- NULL: as above it

-- A server by its key, a direct message or a terminal by the key of its channel.
CREATE TABLE server_consent (
    guild_key  TEXT    PRIMARY KEY,
    allowed    INTEGER NOT NULL CHECK (allowed IN (0, 1)),
    decided_by TEXT,                         -- author key; NULL once that person is forgotten
    decided_at REAL    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX server_consent_by_person ON server_consent (decided_by) WHERE decided_by IS NOT NULL;

-- Who never said anything has no row.
CREATE TABLE author_consent (
    author_key TEXT    PRIMARY KEY,
    allowed    INTEGER NOT NULL CHECK (allowed IN (0, 1)),
    decided_at REAL                          -- NULL once that person is forgotten
) STRICT, WITHOUT ROWID;

CREATE INDEX author_consent_refused ON author_consent (author_key) WHERE allowed = 0;

-- Ways in which a character's message was or could have been put. The text of the chosen one is
-- the message's own, so that it stands in one place only.
CREATE TABLE variants (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id    INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    channel_id    INTEGER NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    chosen        INTEGER NOT NULL DEFAULT 0 CHECK (chosen IN (0, 1)),
    content       TEXT    CHECK ((content IS NULL) = (chosen = 1)),
    adapter       TEXT,
    sampling      TEXT,                      -- JSON object
    finish_reason TEXT,
    created_at    REAL    NOT NULL
) STRICT;

CREATE INDEX variants_of_message ON variants (message_id);
CREATE INDEX variants_in_channel ON variants (channel_id, message_id);
CREATE UNIQUE INDEX variants_chosen ON variants (message_id) WHERE chosen = 1;

CREATE TABLE votes (
    message_id INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    voter_key  TEXT    NOT NULL,
    channel_id INTEGER NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    variant_id INTEGER REFERENCES variants (id) ON DELETE CASCADE,  -- NULL: there is but one text
    liked      INTEGER NOT NULL CHECK (liked IN (0, 1)),
    created_at REAL    NOT NULL,
    PRIMARY KEY (message_id, voter_key)
) STRICT, WITHOUT ROWID;

CREATE INDEX votes_by_person ON votes (voter_key);
CREATE INDEX votes_in_channel ON votes (channel_id, message_id);
CREATE INDEX votes_on_variant ON votes (variant_id) WHERE variant_id IS NOT NULL;

-- With its question a reply loses the variants that are not shown, and the votes on them. What is
-- shown stays, and so do the votes on it.
CREATE TRIGGER variants_follow_their_question BEFORE DELETE ON messages
BEGIN
    UPDATE votes SET variant_id = NULL WHERE variant_id IN (
        SELECT v.id FROM messages AS reply JOIN variants AS v ON v.message_id = reply.id
        WHERE reply.reply_to = OLD.id AND v.chosen = 1);
    DELETE FROM variants WHERE message_id IN (SELECT id FROM messages WHERE reply_to = OLD.id);
END;

-- Every scene of a channel but its first: it holds the messages whose place is greater than this.
CREATE TABLE scenes (
    channel_id INTEGER NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    start      INTEGER NOT NULL,
    PRIMARY KEY (channel_id, start)
) STRICT, WITHOUT ROWID;

INSERT INTO scenes (channel_id, start) SELECT id, scene_start FROM channels WHERE scene_start > 0;

-- So that a person's messages can be counted without reading them.
DROP INDEX messages_by_author;
CREATE INDEX messages_by_author ON messages (author_key, role);
