-- Who does not want to be logged, who is blocked, what is stored in passing only, and what is needed
-- to delete by age. Times are Unix seconds in UTC.

-- A person, a channel or a server of which nothing is kept. A server and a channel may have the same
-- key, so the scope belongs to it.
CREATE TABLE unlogged (
    scope TEXT NOT NULL CHECK (scope IN ('author', 'channel', 'server')),
    key   TEXT NOT NULL,
    since REAL,                              -- NULL once that person is forgotten
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

-- People whom a server does not want answered.
CREATE TABLE blocks (
    guild_key  TEXT NOT NULL,
    author_key TEXT NOT NULL,
    blocked_at REAL NOT NULL,
    PRIMARY KEY (guild_key, author_key)
) STRICT, WITHOUT ROWID;

CREATE INDEX blocks_by_person ON blocks (author_key);

-- What is said without being logged stands here until it is answered, so that it survives a crash,
-- and nothing is made of it meanwhile.
ALTER TABLE messages ADD COLUMN passing INTEGER NOT NULL DEFAULT 0 CHECK (passing IN (0, 1));

CREATE INDEX messages_passing ON messages (answers) WHERE passing = 1;

-- Posts of characters whose text is not kept: nobody must take them for something else's.
CREATE TABLE passed_posts (
    post_id   INTEGER PRIMARY KEY,
    passed_at REAL NOT NULL
) STRICT;

CREATE TRIGGER replies_pass_with_their_question AFTER INSERT ON messages
    WHEN NEW.role = 'character' AND NEW.passing = 0
     AND (SELECT passing FROM messages WHERE id = NEW.reply_to) = 1
BEGIN
    UPDATE messages SET passing = 1 WHERE id = NEW.id;
END;

DROP TRIGGER recall_of_new_messages;
CREATE TRIGGER recall_of_new_messages AFTER INSERT ON messages
    WHEN NEW.state = 'complete' AND NEW.passing = 0
BEGIN
    INSERT OR IGNORE INTO recall_due (message_id) VALUES (NEW.id);
END;

DROP TRIGGER recall_of_finished_messages;
CREATE TRIGGER recall_of_finished_messages AFTER UPDATE OF state ON messages
    WHEN OLD.state <> NEW.state AND NEW.state = 'complete' AND NEW.passing = 0
BEGIN
    INSERT OR IGNORE INTO recall_due (message_id) VALUES (NEW.id);
END;

DROP TRIGGER memory_follows_changes;
CREATE TRIGGER memory_follows_changes AFTER UPDATE OF content ON messages
    WHEN OLD.content <> NEW.content AND OLD.content <> '' AND NEW.passing = 0
BEGIN
    DELETE FROM recall WHERE rowid = (OLD.channel_id << 40) | OLD.id;
    INSERT OR IGNORE INTO recall_due (message_id) SELECT NEW.id WHERE NEW.state = 'complete';
    DELETE FROM facts WHERE message_id = NEW.id;
    UPDATE summaries SET told = '', up_to = scene_start
    WHERE channel_id = OLD.channel_id AND scene_start < OLD.place AND up_to >= OLD.place;
END;

-- Nothing was indexed or summed up of what only passed, so nothing has to follow it.
DROP TRIGGER memory_follows_deletions;
CREATE TRIGGER memory_follows_deletions AFTER DELETE ON messages WHEN OLD.passing = 0
BEGIN
    DELETE FROM recall WHERE rowid = (OLD.channel_id << 40) | OLD.id;
    UPDATE summaries SET told = '', up_to = scene_start
    WHERE channel_id = OLD.channel_id AND scene_start < OLD.place AND up_to >= OLD.place;
END;

-- To delete what is too old.
CREATE INDEX messages_by_age ON messages (created_at);

-- What people wrote into a summary ages from then on, whatever the model adds to it later.
ALTER TABLE summaries ADD COLUMN fixed_at REAL;
UPDATE summaries SET fixed_at = written_at WHERE fixed <> '';
