"""Request bodies: JSON, or multipart with `payload_json` and files, as Discord takes them."""

from __future__ import annotations

import json
import mimetypes
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from aiohttp import BodyPartReader, web

from .errors import ApiError
from .state import Json

_FILE_FIELD = re.compile(r"files\[(\d+)\]")


@dataclass
class Upload:
    """One file of a request; `reference` is what the attachments array calls it."""

    filename: str
    data: bytes
    content_type: str = ""
    description: str | None = None
    reference: str = ""

    def __post_init__(self) -> None:
        self.filename = re.sub(r"[^\w.\-()]", "_", PurePosixPath(self.filename).name) or "file"
        if self.content_type in ("", "application/octet-stream"):
            guess = mimetypes.guess_type(self.filename)[0]
            self.content_type = guess or "application/octet-stream"


@dataclass
class Body:
    """A parsed request body. `json` is {} for an empty one; a list for bulk requests."""

    json: Any = field(default_factory=dict)
    files: list[Upload] = field(default_factory=list)


def bad_json() -> ApiError:
    return ApiError(400, 50109, "The request body contains invalid JSON.")


async def read_body(request: web.Request) -> Body:
    """Raises ApiError 50109 for a body that is not JSON; ConnectionError when it was cut off."""
    if request.content_type == "multipart/form-data":
        return await _read_multipart(request)
    text = await request.text()
    if not text:
        return Body()
    try:
        return Body(json.loads(text))
    except ValueError:
        raise bad_json() from None


async def _read_multipart(request: web.Request) -> Body:
    body = Body()
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            continue
        name = part.name or ""
        data = bytes(await part.read())
        if name == "payload_json":
            try:
                body.json = json.loads(data)
            except ValueError:
                raise bad_json() from None
            continue
        match = _FILE_FIELD.fullmatch(name)
        reference = match.group(1) if match else str(len(body.files))
        content_type = part.headers.get("Content-Type", "")
        body.files.append(Upload(part.filename or name, data, content_type, reference=reference))
    _describe(body)
    return body


def _describe(body: Body) -> None:
    """Takes filenames and descriptions from the attachments array, where it names a file."""
    payload: Json = body.json if isinstance(body.json, dict) else {}
    inner = payload.get("data") or payload.get("message") or payload
    named = {str(entry.get("id")): entry for entry in inner.get("attachments") or []}
    for upload in body.files:
        entry = named.get(upload.reference, {})
        upload.filename = entry.get("filename") or upload.filename
        upload.description = entry.get("description")
