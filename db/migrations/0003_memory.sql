-- What a character keeps of a scene besides the words themselves: a summary, facts, an index to
-- find old moments by; and what people add to its prompts: notes and lore.
-- All of it belongs to one channel, and all but lore to one character in it.

-- Of a scene, which begins behind `scene_start`. `fixed` is what people wrote, `told` what the
-- model made of the messages behind `scene_start` whose place is at most `up_to`.
CREATE TABLE summaries (
    channel_id  INTEGER NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    persona     TEXT    NOT NULL,
    scene_start INTEGER NOT NULL,
    fixed       TEXT    NOT NULL DEFAULT '',
    fixed_by    TEXT,                        -- author key
    told        TEXT    NOT NULL DEFAULT '',
    up_to       INTEGER NOT NULL,
    written_at  REAL    NOT NULL,
    PRIMARY KEY (channel_id, persona, scene_start)
) STRICT, WITHOUT ROWID;

CREATE INDEX summaries_by_person ON summaries (fixed_by) WHERE fixed_by IS NOT NULL;

-- `author_key` is who said it, `message_id` where; NULL: it was given by a command.
CREATE TABLE facts (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    channel_id  INTEGER NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    persona     TEXT    NOT NULL,
    scene_start INTEGER NOT NULL,            -- of the scene it was learnt in
    text        TEXT    NOT NULL,
    author_key  TEXT    NOT NULL,
    author_name TEXT    NOT NULL,
    message_id  INTEGER REFERENCES messages (id) ON DELETE CASCADE,
    pinned      INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),  -- kept in later scenes, too
    created_at  REAL    NOT NULL
) STRICT;

CREATE INDEX facts_in_scene ON facts (channel_id, persona, scene_start, id);
CREATE INDEX facts_pinned ON facts (channel_id, persona, id) WHERE pinned = 1;
CREATE INDEX facts_by_person ON facts (author_key);
CREATE INDEX facts_of_message ON facts (message_id) WHERE message_id IS NOT NULL;

CREATE TABLE author_notes (
    channel_id INTEGER NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    persona    TEXT    NOT NULL,
    text       TEXT    NOT NULL,
    depth      INTEGER NOT NULL CHECK (depth >= 0),
    written_by TEXT    NOT NULL,             -- author key
    written_at REAL    NOT NULL,
    PRIMARY KEY (channel_id, persona)
) STRICT, WITHOUT ROWID;

CREATE INDEX author_notes_by_person ON author_notes (written_by);

-- The lorebook of a channel, for whoever speaks there.
CREATE TABLE lore (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    channel_id INTEGER NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    keys       TEXT    NOT NULL,             -- JSON list; empty: always in the prompt
    text       TEXT    NOT NULL,
    written_by TEXT    NOT NULL,             -- author key
    written_at REAL    NOT NULL
) STRICT;

CREATE INDEX lore_in_channel ON lore (channel_id, id);
CREATE INDEX lore_by_person ON lore (written_by);

-- The words of complete messages. A rowid is channel id << 40 | message id, so that one channel's
-- entries stand together in every list of the index, and a search never leaves its channel.
CREATE VIRTUAL TABLE recall USING fts5(
    words, tokenize = 'porter unicode61 remove_diacritics 2', detail = none, columnsize = 0);

-- Messages that the index still lacks, or has in an older wording.
CREATE TABLE recall_due (
    message_id INTEGER PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE
) STRICT;

INSERT INTO recall_due (message_id) SELECT id FROM messages WHERE state = 'complete';

-- By character, to find where another one spoke last.
CREATE INDEX messages_by_persona ON messages (channel_id, persona, place)
    WHERE role = 'character';

CREATE TRIGGER recall_of_new_messages AFTER INSERT ON messages WHEN NEW.state = 'complete'
BEGIN
    INSERT OR IGNORE INTO recall_due (message_id) VALUES (NEW.id);
END;

CREATE TRIGGER recall_of_finished_messages AFTER UPDATE OF state ON messages
    WHEN OLD.state <> NEW.state AND NEW.state = 'complete'
BEGIN
    INSERT OR IGNORE INTO recall_due (message_id) VALUES (NEW.id);
END;

-- What is said otherwise now must be found, told and known by its new words only.
CREATE TRIGGER memory_follows_changes AFTER UPDATE OF content ON messages
    WHEN OLD.content <> NEW.content AND OLD.content <> ''
BEGIN
    DELETE FROM recall WHERE rowid = (OLD.channel_id << 40) | OLD.id;
    INSERT OR IGNORE INTO recall_due (message_id) SELECT NEW.id WHERE NEW.state = 'complete';
    DELETE FROM facts WHERE message_id = NEW.id;
    UPDATE summaries SET told = '', up_to = scene_start
    WHERE channel_id = OLD.channel_id AND scene_start < OLD.place AND up_to >= OLD.place;
END;

CREATE TRIGGER memory_follows_deletions AFTER DELETE ON messages
BEGIN
    DELETE FROM recall WHERE rowid = (OLD.channel_id << 40) | OLD.id;
    UPDATE summaries SET told = '', up_to = scene_start
    WHERE channel_id = OLD.channel_id AND scene_start < OLD.place AND up_to >= OLD.place;
END;
