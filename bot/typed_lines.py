"""What was typed at the terminal, for the arrow keys; in a file, unless it is not logged."""

from __future__ import annotations

from prompt_toolkit.history import FileHistory


class TypedLines(FileHistory):
    """The lines of the file and of this run; while `kept` is false, none is added to the file."""

    kept = True

    def store_string(self, string: str) -> None:
        if self.kept:
            super().store_string(string)
