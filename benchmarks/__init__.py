"""Measurements beside peers in the same run; results are kept in RESULTS.md."""
