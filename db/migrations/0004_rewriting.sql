-- Replies that a crash broke off are looked for whenever a channel is taken up again.
CREATE INDEX messages_streaming ON messages (channel_id) WHERE state = 'streaming';
