-- Lorebooks that were brought into a channel as files, beside the entries that were written there.
-- `book` is the JSON as it came, except that an entry which was removed is `{}`: so the others keep
-- their numbers. It stands last, because the columns before it are read without it.
CREATE TABLE lore_books (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    channel_id INTEGER NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    name       TEXT    NOT NULL,             -- what commands call it
    revision   INTEGER NOT NULL DEFAULT 0,   -- how often an entry was removed
    written_by TEXT    NOT NULL,             -- author key of who brought it in
    written_at REAL    NOT NULL,
    book       TEXT    NOT NULL,
    UNIQUE (channel_id, name)
) STRICT;

CREATE INDEX lore_books_by_person ON lore_books (written_by);
