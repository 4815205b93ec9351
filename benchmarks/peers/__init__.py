"""Programs that run inside a peer's own environment and know nothing of this project."""
