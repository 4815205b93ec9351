"""One HTML page about an evaluation, with everything it needs inside."""
