"""The cure of identity repetition, measured: `python -m benchmarks.identity_repetition`."""
