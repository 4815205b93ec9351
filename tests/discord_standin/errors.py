"""The refusals of Discord's REST API, by name."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """An answer other than 2xx: HTTP status, Discord's own code, and its sentence."""

    def __init__(
        self, status: int, code: int, message: str, errors: dict[str, Any] | None = None
    ) -> None:
        super().__init__(f"{status} (code {code}): {message}")
        self.status = status
        self.body: dict[str, Any] = {"message": message, "code": code}
        if errors:
            self.body["errors"] = errors


def unauthorized() -> ApiError:
    return ApiError(401, 0, "401: Unauthorized")


_UNKNOWN = {
    "channel": 10003,
    "guild": 10004,
    "member": 10007,
    "message": 10008,
    "role": 10011,
    "user": 10013,
    "emoji": 10014,
    "webhook": 10015,
    "ban": 10026,
    "interaction": 10062,
    "application command": 10063,
}


def unknown(thing: str) -> ApiError:
    """404 for a thing that does not exist, e.g. `unknown("message")` is code 10008."""
    return ApiError(404, _UNKNOWN[thing], f"Unknown {thing.title()}")


def missing_access() -> ApiError:
    return ApiError(403, 50001, "Missing Access")


def missing_permissions() -> ApiError:
    return ApiError(403, 50013, "Missing Permissions")


def not_your_message() -> ApiError:
    return ApiError(403, 50005, "Cannot edit a message authored by another user")


def empty_message() -> ApiError:
    return ApiError(400, 50006, "Cannot send an empty message")


def cannot_message_user() -> ApiError:
    return ApiError(403, 50007, "Cannot send messages to this user")


def wrong_channel_type() -> ApiError:
    return ApiError(400, 50024, "Cannot execute action on this channel type")


def archived_thread() -> ApiError:
    return ApiError(400, 50083, "Thread is archived")


def already_acknowledged() -> ApiError:
    return ApiError(400, 40060, "Interaction has already been acknowledged.")


def invalid_form(path: str, code: str, message: str) -> ApiError:
    """400 / 50035 with the nested `errors` object; path is dotted, e.g. "embeds.0.title"."""
    leaf: dict[str, Any] = {"_errors": [{"code": code, "message": message}]}
    for part in reversed(path.split(".")):
        leaf = {part: leaf}
    return ApiError(400, 50035, "Invalid Form Body", leaf)


def too_long(path: str, limit: int) -> ApiError:
    return invalid_form(path, "BASE_TYPE_MAX_LENGTH", f"Must be {limit} or fewer in length.")


def bad_length(path: str, low: int, high: int) -> ApiError:
    return invalid_form(
        path, "BASE_TYPE_BAD_LENGTH", f"Must be between {low} and {high} in length."
    )


def required(path: str) -> ApiError:
    return invalid_form(path, "BASE_TYPE_REQUIRED", "This field is required")
