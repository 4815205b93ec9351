"""Where dialogues come from."""
