-- With which question an entry of a lorebook first entered a scene's prompts: some entries stay from
-- then on, others come up only once. `entry` names it among all books: `card:mirela#3`.
CREATE TABLE lore_matches (
    channel_id INTEGER NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    persona    TEXT    NOT NULL,
    message_id INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    entry      TEXT    NOT NULL,
    PRIMARY KEY (channel_id, persona, message_id, entry)
) STRICT, WITHOUT ROWID;

CREATE INDEX lore_matches_of_message ON lore_matches (message_id);
