"""Adapters on disk: names, versions, and which version a name stands for.

An adapter version is the folder `NAME/VERSION/` (see `adapter_folder`). The file `NAME/current`
holds the promoted version and what was promoted before (see `promotions`), the file `NAME/canary`
a version that some channels try first (see `canary`).

One adapter comes with the project, for the embedded model: version 0 of `default`, which the name
stands for until another is promoted.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from inference import promotions
from inference.adapter_folder import (
    CARD_FILE,
    CONFIG_FILE,
    OWN_FORMAT,
    WEIGHTS_FILE,
    AdapterCard,
    AdapterError,
    AdapterInfo,
    check_folder,
    check_prompt_format,
    is_soft_prompt,
    read_settings,
    weights_hash,
)
from inference.canary import Canary, read_canary, remove_canary, write_canary
from inference.promotions import Promotion, locked

__all__ = [
    "BASE",
    "CARD_FILE",
    "CONFIG_FILE",
    "DEFAULT",
    "OWN_FORMAT",
    "SHIPPED",
    "SHIPPED_VERSION",
    "WEIGHTS_FILE",
    "AdapterCard",
    "AdapterError",
    "AdapterInfo",
    "AdapterRegistry",
    "Canary",
    "Promotion",
    "check_folder",
    "check_name",
    "check_prompt_format",
    "is_soft_prompt",
    "read_settings",
    "weights_hash",
]

log = logging.getLogger(__name__)

BASE = "base"
DEFAULT = "default"
SHIPPED = Path(__file__).with_name("shipped_adapter")
SHIPPED_VERSION = 0
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class AdapterRegistry:
    """The adapters under one folder. Every call reads the disk, so a promotion is seen at once."""

    def __init__(
        self,
        folder: Path,
        elsewhere: Collection[str] = (),
        *,
        shipped: Path | None = SHIPPED,
    ) -> None:
        """`elsewhere` are names that a remote server knows; there is nothing of them here.

        `shipped` is the folder of version 0 of `default`.
        """
        self._folder = folder
        self._shipped = shipped if shipped is not None and shipped.is_dir() else None
        self._elsewhere = frozenset(elsewhere) - {BASE, DEFAULT}

    def names(self) -> list[str]:
        """`base`, `default`, then every name that has a published version or is elsewhere."""
        found = {
            entry.name
            for entry in (self._folder.iterdir() if self._folder.is_dir() else ())
            if entry.name not in (BASE, DEFAULT) and self.versions(entry.name)
        }
        return [BASE, DEFAULT, *sorted(found | self._elsewhere)]

    def versions(self, name: str) -> list[int]:
        """The published versions of `name`, oldest first, after the one that was shipped."""
        shipped = [SHIPPED_VERSION] if name == DEFAULT and self._shipped else []
        folder = self._folder / name
        if not _NAME.fullmatch(name) or not folder.is_dir():
            return shipped
        return shipped + sorted(
            int(entry.name) for entry in folder.iterdir() if re.fullmatch(r"[1-9]\d*", entry.name)
        )

    def list(self, base_fingerprint: str | None = None) -> list[AdapterInfo]:
        """Every readable version, by name and version; only those of one base model if given."""
        found: list[AdapterInfo] = []
        for name in self.names():
            for version in self.versions(name):
                try:
                    found.append(self.resolve_version(name, version, base_fingerprint))
                except AdapterError:
                    continue  # `resolve` tells whoever asks for it why it cannot be used
        return found

    def resolve(self, name: str, base_fingerprint: str | None = None) -> AdapterInfo | None:
        """The version that `name` (`pirate`, `pirate@3`, `base`, `default`) stands for now.

        None where there is no adapter here: `base`, `default` while nothing has been promoted to
        it and the shipped one is not for this model, and what is elsewhere.
        Raises `AdapterError` for anything that cannot be used with the model of
        `base_fingerprint`.
        """
        if name == BASE or name in self._elsewhere:
            return None
        stem, _, wanted = name.partition("@")
        if not _NAME.fullmatch(stem) or (wanted and not re.fullmatch(r"0|[1-9]\d{0,8}", wanted)):
            raise AdapterError(
                f"{name!r} is not an adapter's name; names are lower-case letters, digits, - and _,"
                " with @ and a number for one version."
            )
        if stem == BASE:
            raise AdapterError("The base model has no versions; its adapter is called base.")
        versions = self.versions(stem)
        if not versions:
            if stem == DEFAULT and not wanted:
                return None
            known = ", ".join(self.names())
            raise AdapterError(f"There is no adapter {stem!r}; there are {known}.")
        if wanted and int(wanted) not in versions:
            known = ", ".join(map(str, versions))
            raise AdapterError(f"Adapter {stem!r} has no version {wanted}; it has {known}.")
        version = int(wanted) if wanted else self.promoted(stem)
        if version is None and stem != DEFAULT:
            raise AdapterError(
                f"No version of adapter {stem!r} is promoted yet; name one, such as"
                f" {stem}@{versions[-1]}."
            )
        unfit = version == SHIPPED_VERSION and not wanted and not self._ships_for(base_fingerprint)
        if version is None or unfit:
            return None
        return self.resolve_version(stem, version, base_fingerprint)

    def _ships_for(self, base_fingerprint: str | None) -> bool:
        """Whether the shipped adapter was made for that model."""
        if base_fingerprint is None:
            return True
        folder = self.folder_of(DEFAULT, SHIPPED_VERSION)
        return check_folder(folder, DEFAULT, None).base_fingerprint == base_fingerprint

    def folder_of(self, name: str, version: int) -> Path:
        """Where a version lies, if it exists."""
        if name == DEFAULT and version == SHIPPED_VERSION and self._shipped is not None:
            return self._shipped
        return self._folder / name / str(version)

    def promoted(self, name: str) -> int | None:
        """The version that the bare name stands for, as `promotions.promoted` tells."""
        return promotions.promoted(self._folder / name, self.versions(name))

    def resolve_version(
        self, name: str, version: int, base_fingerprint: str | None = None
    ) -> AdapterInfo:
        """One version, checked as `check_folder` does."""
        folder = self.folder_of(name, version)
        card = check_folder(folder, f"{name}@{version}", base_fingerprint)
        return AdapterInfo(name, version, folder, self.promoted(name) == version, card)

    def publish(
        self, staging: Path, name: str, *, promote: bool = True, reason: str = ""
    ) -> AdapterInfo:
        """Move the finished adapter folder `staging` into place as the next version of `name`.

        Without `promote` the name goes on standing for what it stood for, be it nothing.
        `staging` must be on the same file system. Raises `AdapterError` if it is not a usable
        adapter or the name cannot be taken; then nothing has changed.
        """
        check_name(name)
        check_folder(staging, name, None)
        home = self._folder / name
        with locked(home):
            if not promotions.is_decided(home):  # or the newest version would serve unpromoted
                promotions.write(home, self.promoted(name), self.history(name))
            version = max(self.versions(name), default=0) + 1
            staging.rename(home / str(version))
            if promote:
                self._promote(name, version, by="training", reason=reason, run="")
        return self.resolve_version(name, version)

    def promote(
        self,
        name: str,
        version: int,
        *,
        by: str = "",
        reason: str = "",
        run: str = "",
        expected: int | None = None,
    ) -> None:
        """Let `name` stand for `version` from now on, in one atomic step; ends its canary.

        `by`, `reason` and the retraining's key `run` are remembered in the `history`. With
        `expected` it is an `AdapterError` if the name stands for another version than that by now.
        """
        self.resolve_version(name, version)
        with locked(self._folder / name):
            self._check_expected(name, expected)
            self._promote(name, version, by=by, reason=reason, run=run)

    def history(self, name: str) -> Sequence[Promotion]:
        """Every promotion and rollback of `name` that is remembered, newest first."""
        return promotions.history(self._folder / name) if _NAME.fullmatch(name) else []

    def rollback_target(self, name: str) -> int | None:
        """The version that `rollback` would go to; None: there is none."""
        return promotions.earlier(self.history(name), self.promoted(name), self.versions(name))

    def rollback(
        self,
        name: str,
        *,
        by: str,
        reason: str = "",
        run: str = "",
        expected: int | None = None,
        base_fingerprint: str | None = None,
    ) -> AdapterInfo:
        """Let `name` stand for what it stood for before, in one atomic step; ends its canary.

        A further rollback leads one promotion further back. Raises `AdapterError` if there is
        nothing to go back to or it cannot be used, and as `promote` does.
        """
        check_name(name)
        self._target(name)  # nothing is written for a name without a history
        with locked(self._folder / name):
            self._check_expected(name, expected)
            target = self._target(name)
            # For a model that it was not made for, the shipped version means no adapter.
            fingerprint = None if target == SHIPPED_VERSION else base_fingerprint
            info = self.resolve_version(name, target, fingerprint)
            self._promote(name, target, by=by, reason=reason, run=run, back=True)
        return replace(info, promoted=True)

    def _target(self, name: str) -> int:
        target = self.rollback_target(name)
        if target is None:
            raise AdapterError(f"There is no earlier version of adapter {name!r} to go back to.")
        return target

    def _check_expected(self, name: str, expected: int | None) -> None:
        present = self.promoted(name)
        if expected is not None and present != expected:
            raise AdapterError(
                f"Adapter {name!r} stands for version {present} by now, not {expected}; look again."
            )

    def _promote(
        self, name: str, version: int, *, by: str, reason: str, run: str, back: bool = False
    ) -> None:
        """What `promote` does, for whoever holds the lock."""
        home = self._folder / name
        previous = self.promoted(name)
        if previous != version or not promotions.is_decided(home):
            change = Promotion(
                at=time.time(),
                version=version,
                previous=previous,
                by=by,
                reason=reason,
                run=run,
                back=back,
            )
            promotions.write(home, version, [change, *promotions.history(home)])
        remove_canary(home)

    # -- trials ----------------------------------------------------------------------------------

    def begin_canary(
        self, name: str, version: int, *, share: float, until: float, run: str = ""
    ) -> Canary:
        """Let a `share` of the channels that use `name` try `version`, in place of any other.

        It goes on beyond `until` (Unix seconds) while nobody decides, up to `Canary.given_up_at`.
        Raises `AdapterError` if the version cannot be used or serves everywhere already, and
        `ValueError` unless 0 < `share` ≤ 1.
        """
        self.resolve_version(name, version)
        with locked(self._folder / name):
            if self.resolve_version(name, version).promoted:
                raise AdapterError(f"{name}@{version} serves everywhere already; try another one.")
            now = time.time()
            canary = Canary(
                version=version,
                champion=self.promoted(name),
                share=share,
                since=now,
                until=max(until, now),
                run=run,
            )
            write_canary(self._folder / name, canary)
        return canary

    def canary(self, name: str) -> Canary | None:
        """The version of `name` that is being tried; None: none."""
        if not _NAME.fullmatch(name) or (canary := read_canary(self._folder / name)) is None:
            return None
        over = canary.champion != self.promoted(name) or canary.version == canary.champion
        return None if over or canary.version not in self.versions(name) else canary

    def end_canary(self, name: str) -> None:
        """Every channel answers through what `name` stands for again."""
        check_name(name)
        if read_canary(self._folder / name) is not None:
            with locked(self._folder / name):
                remove_canary(self._folder / name)

    def serving(self, name: str, channel_key: str) -> str:
        """The adapter that answers in a channel which chose `name`: that, or a version on trial.

        A channel tries a version for as long as the trial lasts. Whatever is wrong with that
        version, the one that the name stands for is still there.
        """
        if name == BASE or name in self._elsewhere or (canary := self.canary(name)) is None:
            return name
        if time.time() >= canary.given_up_at or not canary.includes(name, channel_key):
            return name
        try:
            return self.resolve_version(name, canary.version).label
        except AdapterError as error:
            log.warning("What is tried of %s does not answer: %s", name, error)
            return name

    def staging_folder(self, name: str) -> Path:
        """A fresh empty folder that `publish` can move into place; leading dots hide it."""
        check_name(name)
        folder = self._folder / name / f".staging-{os.getpid()}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


def check_name(name: str) -> None:
    """Raise `AdapterError` unless a new adapter may be called `name`."""
    if not _NAME.fullmatch(name):
        raise AdapterError(
            f"{name!r} cannot be an adapter's name; use lower-case letters, digits, - and _,"
            " 64 at most."
        )
    if name == BASE:
        raise AdapterError("The name base always means the model without adapter; choose another.")
