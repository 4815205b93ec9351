"""Texts of a certain shape, and what to say of one that has another."""

from __future__ import annotations

DEVICE = r"^(auto|cpu|mps|cuda(:\d+)?)$"
FILE_NAME = r"^[^./\\\x00][^/\\\x00]*$"
URL = r"^https?://[^\s@/]+[^\s@]*$"
FINGERPRINT = r"^([0-9a-f]{32})?$"
HOURS = r"^(([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d)?$"
CHANNEL = r"^(\d{1,20})?$"
MEANINGS = {  # of the patterns, for people
    DEVICE: 'it must be "auto", "cpu", "mps", "cuda" or "cuda:1", "cuda:2", …',
    FILE_NAME: "it must be a file's name without a folder",
    URL: "it must be an address such as http://127.0.0.1:8000/v1, without a password",
    HOURS: "it must be two times of day such as 23:00-07:00, or nothing",
    CHANNEL: "it must be a channel's id, such as 1184761234567890123, or nothing",
    FINGERPRINT: "it must be 32 hexadecimal digits, or nothing",
}
