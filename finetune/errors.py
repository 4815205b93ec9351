"""What can go wrong; every message is one sentence that says what to change."""

from __future__ import annotations


class InputError(Exception):
    """The data or the settings cannot be used as they are (exit code 2)."""


class DiskFullError(InputError):
    """There is no room for what is to be written; nothing half-written is left."""


class TrainingError(Exception):
    """Training began and could not be finished (exit code 1)."""
