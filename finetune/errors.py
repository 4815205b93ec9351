"""What can go wrong; every message is one sentence that says what to change."""

from __future__ import annotations


class InputError(Exception):
    """The data or the settings cannot be used as they are (exit code 2)."""


class TrainingError(Exception):
    """Training began and could not be finished (exit code 1)."""
