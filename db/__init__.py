"""Memory: one SQLite file that holds channels with their settings and everything that was said.

This is the only room with SQL. `Database.open` brings the file up to date by the numbered scripts
in `migrations/` and gives one store per concept: `channels`, `messages`, `feedback`, `consent`,
`summaries`, `facts`, `recall`, `direction`, `privacy`. What a store method acknowledged survives
`kill -9` and a power cut; what goes wrong with the file reaches the caller as a `DatabaseError`,
one sentence that names what to change.
"""
