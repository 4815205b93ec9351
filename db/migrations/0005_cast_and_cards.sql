-- Several characters in one channel, where cards came from, and what was answered unasked.

ALTER TABLE channels ADD COLUMN age_restricted INTEGER NOT NULL DEFAULT 0
    CHECK (age_restricted IN (0, 1));
ALTER TABLE channels ADD COLUMN greeting INTEGER NOT NULL DEFAULT 0;   -- 0: the card's first one
-- JSON list of who speaks here beside the channel's own character, in order; those who left keep
-- their place until the next scene, so that what they said stays with whoever heard it.
ALTER TABLE channels ADD COLUMN members TEXT NOT NULL DEFAULT '[]';

ALTER TABLE messages ADD COLUMN unasked INTEGER NOT NULL DEFAULT 0     -- answered of its own accord
    CHECK (unasked IN (0, 1));

-- What a character said last in a channel, however much people said since.
CREATE INDEX messages_of_characters ON messages (channel_id, id) WHERE role = 'character';

-- Characters that were brought in by a server: it alone may change them.
CREATE TABLE card_homes (
    persona    TEXT PRIMARY KEY,
    home_key   TEXT NOT NULL,               -- of the server
    brought_at REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX card_homes_by_home ON card_homes (home_key);
