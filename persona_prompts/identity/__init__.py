"""Who introduces itself, unasked, and what else a character says again and again."""
