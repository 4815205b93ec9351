"""Transport compression of gateway frames: one stream per connection, flushed per message."""

from __future__ import annotations

import zlib
from collections.abc import Callable

Encoder = Callable[[str], str | bytes]


def encoder_for(compression: str | None) -> Encoder:
    """What turns one JSON message into one websocket frame.

    compression: the gateway URL's `compress` query: None (text frames) or "zlib-stream".
    Raises ValueError for anything else; discord.py asks for zstd only where a zstd package is
    installed, which this project does not have.
    """
    if compression is None:
        return lambda text: text
    if compression != "zlib-stream":
        raise ValueError(f"the stand-in speaks no {compression!r}, only zlib-stream")
    stream = zlib.compressobj()

    def compress(text: str) -> bytes:
        # Z_SYNC_FLUSH ends each message with 00 00 ff ff, which is how the client finds its end.
        return stream.compress(text.encode()) + stream.flush(zlib.Z_SYNC_FLUSH)

    return compress
