"""PNG files as the chunks they are made of, within limits that a hostile one cannot pass.

Nothing is decoded here but, on demand, the size of the pixels: zTXt and iTXt are never unpacked.
The layout is the PNG specification's (ISO/IEC 15948): signature, then chunks of length, type,
data and CRC.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from persona_prompts.errors import CharacterError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_PNG_BYTES = 16 * 1024 * 1024
MAX_CHUNKS = 8192
MAX_SIDE = 8192
MAX_PIXELS = 8_000_000

_INFLATED_AT_ONCE = 256 * 1024
_BITS = {  # allowed bit depths and samples a pixel, by colour type
    0: ((1, 2, 4, 8, 16), 1), 2: ((8, 16), 3), 3: ((1, 2, 4, 8), 1), 4: ((8, 16), 2),
    6: ((8, 16), 4),
}  # fmt: skip
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
          (0, 1, 1, 2))  # fmt: skip
_PICTURE = (b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"sRGB", b"IDAT", b"IEND")


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk: its type, and where it begins and ends in the file, length and CRC included."""

    kind: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Png:
    """A PNG whose structure and checksums hold; `content` ends with IEND."""

    content: bytes
    chunks: tuple[Chunk, ...]
    width: int
    height: int
    bits: int  # a pixel
    interlaced: bool

    def data(self, chunk: Chunk) -> memoryview:
        return memoryview(self.content)[chunk.start + 8 : chunk.end - 4]

    def texts(self) -> Iterator[tuple[Chunk, str, memoryview]]:
        """Every tEXt, zTXt and iTXt chunk with its keyword, and its data behind the keyword."""
        for chunk in self.chunks:
            if chunk.kind in (b"tEXt", b"zTXt", b"iTXt"):
                data = self.data(chunk)
                keyword = bytes(data[:256]).split(b"\x00", 1)[0]
                yield chunk, keyword.decode("latin-1"), data[len(keyword) + 1 :]

    def with_texts(self, keywords: Iterable[str], texts: dict[str, bytes]) -> bytes:
        """The file with `texts` as tEXt chunks before IEND, and without those of `keywords`."""
        gone = {word.lower() for word in keywords}
        replaced = {chunk.start for chunk, keyword, _ in self.texts() if keyword.lower() in gone}
        parts = [SIGNATURE]
        for chunk in self.chunks:
            if chunk.kind == b"IEND":
                parts += [
                    chunk_bytes(b"tEXt", keyword.encode("latin-1") + b"\x00" + text)
                    for keyword, text in texts.items()
                ]
            if chunk.start not in replaced:
                parts.append(self.content[chunk.start : chunk.end])
        return b"".join(parts)

    def bare(self) -> bytes:
        """The still picture alone: no texts, no animation, nothing private."""
        kept = (c for c in self.chunks if c.kind in _PICTURE)
        return SIGNATURE + b"".join(self.content[c.start : c.end] for c in kept)


def chunk_bytes(kind: bytes, data: bytes) -> bytes:
    """A chunk as it stands in a file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def read_png(content: bytes, label: str) -> Png:
    """The PNG in `content`, what follows its IEND left out.

    Raises `CharacterError` for a file over 16 MiB, of over 8192 chunks, truncated, with a wrong
    checksum, or whose picture is over 8192 pixels wide or high or over 8 million in all.
    """
    if len(content) > MAX_PNG_BYTES:
        raise CharacterError(f"{label} is larger than {MAX_PNG_BYTES >> 20} MiB; shrink it.")
    chunks = tuple(_chunks(content, label))
    if chunks[0].kind != b"IHDR" or chunks[0].end - chunks[0].start != 12 + 13:
        raise CharacterError(f"{label} is not a PNG picture: it does not begin with its header.")
    if all(chunk.kind != b"IDAT" for chunk in chunks):
        raise CharacterError(f"{label} is not a PNG picture: it has no pixels.")
    width, height, depth, colour, method, filtering, interlace = struct.unpack(
        ">IIBBBBB", content[chunks[0].start + 8 : chunks[0].end - 4]
    )
    depths, samples = _BITS.get(colour, ((), 0))
    if depth not in depths or method or filtering or interlace > 1 or not (width and height):
        raise CharacterError(f"{label} is not a PNG picture: its header makes no sense.")
    if width > MAX_SIDE or height > MAX_SIDE or width * height > MAX_PIXELS:
        raise CharacterError(
            f"{label} is a picture of {width} x {height} pixels; shrink it to at most"
            f" {MAX_PIXELS // 1_000_000} million, no side over {MAX_SIDE}."
        )
    end = chunks[-1].end
    whole = content if end == len(content) else content[:end]
    return Png(whole, chunks, width, height, depth * samples, bool(interlace))


def check_pixels(png: Png, label: str) -> None:
    """Raise `CharacterError` unless the compressed pixels are exactly those of the header's size.

    They are unpacked a quarter of a MiB at a time and not kept, so a bomb costs no memory, and no
    time beyond the size that the header admits to.
    """
    wanted, seen = _pixel_bytes(png), 0
    unpacking = zlib.decompressobj()
    try:
        for chunk in png.chunks:
            data: bytes | memoryview = png.data(chunk) if chunk.kind == b"IDAT" else b""
            while len(data) and seen <= wanted and not unpacking.eof:
                seen += len(unpacking.decompress(data, _INFLATED_AT_ONCE))
                data = unpacking.unconsumed_tail
    except zlib.error:
        raise CharacterError(f"{label} is a damaged picture: its pixels cannot be read.") from None
    if seen > wanted:
        raise CharacterError(f"{label} is a hostile picture: it unpacks to more than its size.")
    if seen < wanted:
        raise CharacterError(f"{label} is a damaged picture: some of its pixels are missing.")


def _chunks(content: bytes, label: str) -> Iterator[Chunk]:
    at = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if at + 12 > len(content):
            raise CharacterError(f"{label} is truncated: it breaks off after {at} bytes.")
        length = int.from_bytes(content[at : at + 4], "big")
        kind, end = content[at + 4 : at + 8], at + 12 + length
        if end > len(content):
            raise CharacterError(f"{label} is truncated: the chunk at byte {at} is not all there.")
        checksum = zlib.crc32(memoryview(content)[at + 4 : end - 4])
        if checksum != int.from_bytes(content[end - 4 : end], "big"):
            raise CharacterError(
                f"{label} is damaged: the chunk at byte {at} has a wrong checksum."
            )
        yield Chunk(kind, at, end)
        if kind == b"IEND":
            return
        at = end
    raise CharacterError(f"{label} has more than {MAX_CHUNKS} chunks; save the picture anew.")


def _pixel_bytes(png: Png) -> int:
    """Bytes of the unpacked pixels: in each pass, rows of a filter byte and whole bytes."""
    passes = _ADAM7 if png.interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns = max(0, -(-(png.width - left) // across))
        rows = max(0, -(-(png.height - top) // down))
        if columns:
            total += rows * (1 + (columns * png.bits + 7) // 8)
    return total
