"""Files from addresses that strangers name: small, in time, and from the public internet only."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable
from pathlib import PurePosixPath

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult

from bot.errors import CommandError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_MOST_REDIRECTS = 3
_SECONDS = 15.0
_BLOCK = 1 << 16


def is_public(address: Address) -> bool:
    """Whether an address is anybody's to reach: no loopback, no private or local network."""
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_global and not mapped.is_multicast


class Fetcher:
    """Gets files. `allowed` says which addresses may be asked, `schemes` how."""

    def __init__(
        self,
        allowed: Callable[[Address], bool] = is_public,
        schemes: tuple[str, ...] = ("https",),
    ) -> None:
        self._allowed = allowed
        self._schemes = schemes

    async def fetch(self, url: str, most: int) -> tuple[str, bytes]:
        """Name and content of the file at `url`. Raises `CommandError`.

        A file of more than `most` bytes is refused before it is whole. What a host resolves to is
        judged at the moment of connecting, after every redirection anew.
        """
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        connector = aiohttp.TCPConnector(resolver=_Resolver(self._allowed), use_dns_cache=False)
        try:
            async with aiohttp.ClientSession(
                connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
            ) as session:
                return await self._follow(session, url, most)
        except TimeoutError:
            raise CommandError(f"That address did not answer within {_SECONDS:g} s.") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise CommandError(f"That address cannot be fetched: {reason[:200]}.") from None

    async def _follow(
        self, session: aiohttp.ClientSession, url: str, most: int
    ) -> tuple[str, bytes]:
        address = yarl.URL(url.strip())
        for _ in range(_MOST_REDIRECTS + 1):
            self._check(address)
            async with session.get(address, allow_redirects=False) as response:
                target = response.headers.get("Location")
                if 300 <= response.status < 400 and target is not None:
                    address = address.join(yarl.URL(target))
                    continue
                if response.status != 200:
                    raise CommandError(f"That address answers with status {response.status}.")
                return PurePosixPath(address.path).name or "card", await _read(response, most)
        raise CommandError(f"That address redirects more than {_MOST_REDIRECTS} times.")

    def _check(self, address: yarl.URL) -> None:
        """Refuse what the resolver will not see: other schemes, passwords, numeric hosts."""
        if address.scheme not in self._schemes or not address.host:
            raise CommandError(f"An address must begin with {self._schemes[0]}:// and name a host.")
        if address.user or address.password:
            raise CommandError("An address must not hold a user name or a password.")
        try:
            numeric = ipaddress.ip_address(address.host)
        except ValueError:
            return
        if not self._allowed(numeric):
            raise CommandError("That address is not on the public internet.")


class _Resolver(AbstractResolver):
    """Names that stand for an address which is not allowed are not found."""

    def __init__(self, allowed: Callable[[Address], bool]) -> None:
        self._allowed = allowed
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if not all(self._allowed(ipaddress.ip_address(result["host"])) for result in found):
            raise OSError(errno.EACCES, f"{host} is not on the public internet")
        return found

    async def close(self) -> None:
        await self._inner.close()


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    content = bytearray()
    async for block in response.content.iter_chunked(_BLOCK):
        content += block
        if len(content) > most:
            raise CommandError(f"The file there is larger than {most >> 20} MiB.")
    return bytes(content)
