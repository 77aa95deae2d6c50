"""Releases read straight from their Secrets: exact, a few milliseconds, and no process.

Helm stores each revision as a Secret ``sh.helm.release.v1.NAME.vN``: base64 (Kubernetes') of base64 (Helm's)
of gzip of JSON. Its labels ``owner``, ``name``, ``status`` and ``version`` tell a revision's state without
decoding.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from bot.errors import Permanent
from bot.helm import flags, wire
from bot.helm.failures import ReleaseNotFound, RevisionNotFound
from bot.helm.models import Json, Revision, Status, StoredRelease
from bot.helm.rendering import documents, parse_objects
from bot.redaction import learn, mentions_secrets

LARGEST = 64 * 1024 * 1024  # bytes of JSON; what is stored is at most 1 MiB, compressed
TYPE = "helm.sh/release.v1"
_LEARNED = 2  # revisions whose secrets are remembered for redaction: before and after an upgrade
_PARSED, _SMALL = 4, 200_000  # texts that are not parsed twice for that, and the characters that such a text may have
SYSTEM_LABELS = frozenset({"name", "owner", "status", "version", "createdAt", "modifiedAt"})


class SecretReader(Protocol):
    """What this module needs of the Kubernetes client: Secrets as plain JSON."""

    async def secrets(
        self, namespace: str, label_selector: str, *, metadata_only: bool = False
    ) -> list[dict[str, Any]]:
        """The Secrets that match; with ``metadata_only`` their ``data`` may be missing."""
        ...


@dataclass(frozen=True)
class RevisionState:
    """What the labels of a revision's Secret tell. ``labels`` are the ones that users gave."""

    revision: int
    status: Status
    labels: Mapping[str, str]


def decode_release(secret: Mapping[str, Any], *, largest: int = LARGEST) -> StoredRelease:
    """The release in a Secret. Raises `Permanent` when it is none, is damaged, or unpacks to more than
    ``largest``.
    """
    name = str((secret.get("metadata") or {}).get("name", "?"))
    data = (secret.get("data") or {}).get("release")
    if not isinstance(data, str):
        raise Permanent(f"The Secret `{name}` holds no release.")
    try:
        packed = base64.b64decode(base64.b64decode(data, validate=True), validate=True)
        # Releases from before compression are plain JSON.
        text = _unzipped(packed, largest, name) if packed.startswith(b"\x1f\x8b\x08") else packed
    except (binascii.Error, zlib.error) as error:
        raise Permanent(f"The release in the Secret `{name}` is damaged: {error}.") from error
    return wire.read_stored(text, _user_labels(secret))


def newest_good(history: Sequence[Revision]) -> Revision | None:
    """The newest ``deployed`` revision, else the newest ``superseded`` one that went well; None when there is
    none.
    """
    newest_first = sorted(history, key=lambda revision: revision.revision, reverse=True)
    for wanted in (Status.DEPLOYED, Status.SUPERSEDED):
        for revision in newest_first:
            if revision.status is wanted and went_well(revision):
                return revision
    return None


def rollback_target(history: Sequence[Revision]) -> Revision | None:
    """Where a rollback should go: the newest good revision other than the newest revision itself."""
    newest = max((revision.revision for revision in history), default=0)
    return newest_good([revision for revision in history if revision.revision != newest])


def went_well(revision: Revision) -> bool:
    """Whether it was ever deployed whole.

    A rollback that fails marks the revision before it ``superseded`` even if that one had failed; its
    description, which Helm writes, still tells (``Upgrade "x" failed: …``, ``Preparing upgrade``).
    """
    if revision.status is Status.DEPLOYED:
        return True
    text = revision.description
    failed = text.startswith(('Upgrade "', 'Rollback "', 'Release "')) and " failed: " in text
    return revision.status is Status.SUPERSEDED and not failed and not text.startswith("Preparing ")


def pending(history: Sequence[Revision]) -> Revision | None:
    """The newest revision, if it is ``pending-*``. Older pending ones are scars, and mean nothing."""
    newest = max(history, key=lambda revision: revision.revision, default=None)
    return newest if newest is not None and newest.status.pending else None


class ReleaseStore:
    """The stored revisions of one release."""

    def __init__(self, reader: SecretReader, *, namespace: str, release: str) -> None:
        self._reader = reader
        self._namespace = namespace
        self._release = flags.release_name(release)
        self._secrets: dict[bytes, list[Json]] = {}  # objects that may hold secrets, by the digest of their text

    async def states(self) -> list[RevisionState]:
        """The revisions that are kept, oldest first, from labels alone; empty when there is no such release."""
        found = await self._reader.secrets(self._namespace, self._selector(), metadata_only=True)
        states = [_state(secret) for secret in found]
        return sorted((state for state in states if state), key=lambda state: state.revision)

    async def history(self) -> list[Revision]:
        """The revisions that are kept, oldest first, with chart and description. Raises `ReleaseNotFound`."""
        return [release.as_revision() for release in await self.all()]

    async def all(self) -> list[StoredRelease]:
        """Everything that is kept, oldest first. Raises `ReleaseNotFound`."""
        releases = await self._decoded(self._selector())
        if not releases:
            raise self._missing()
        return releases

    async def current(self) -> StoredRelease:
        """The newest revision, whatever its state. Raises `ReleaseNotFound`."""
        states = await self.states()
        if not states:
            raise self._missing()
        return await self.get(states[-1].revision)

    async def get(self, revision: int) -> StoredRelease:
        """One revision. Raises `RevisionNotFound`."""
        found = await self._decoded(f"{self._selector()},version={revision}")
        if not found:
            raise RevisionNotFound(
                f"`{self._release}` in `{self._namespace}` has no revision {revision}.",
                way_out="Its history shows the revisions that are kept.",
            )
        return found[0]

    def _selector(self) -> str:
        return f"owner=helm,name={self._release}"

    def _missing(self) -> ReleaseNotFound:
        return ReleaseNotFound(
            f"There is no release `{self._release}` in `{self._namespace}`.",
            way_out="Check its name and namespace.",
        )

    async def _decoded(self, selector: str) -> list[StoredRelease]:
        found = await self._reader.secrets(self._namespace, selector)
        # In a thread: ten revisions of a large chart are 50 ms of unpacking.
        return await asyncio.to_thread(self._decode, found)

    def _decode(self, secrets: Iterable[Mapping[str, Any]]) -> list[StoredRelease]:
        releases = [decode_release(secret) for secret in secrets if secret.get("type", TYPE) == TYPE]
        releases.sort(key=lambda release: release.revision)
        for release in releases[-_LEARNED:]:
            learn([release.config, *self._with_secrets(release)])
        return releases

    def _with_secrets(self, release: StoredRelease) -> list[Json]:
        """Parsed once a text: a copy of a revision, as a rollback makes it, has the same."""
        text = "\n---\n".join([release.manifest, *(hook.manifest for hook in release.hooks)])
        digest = hashlib.sha256(text.encode()).digest()
        found = self._secrets.pop(digest, None)
        found = _with_secrets(text) if found is None else found
        if len(text) <= _SMALL:
            self._secrets[digest] = found
        for old in list(self._secrets)[:-_PARSED]:
            self._secrets.pop(old, None)
        return found


def _with_secrets(text: str) -> list[Json]:
    """The objects of a revision that may hold secrets; the other ones are not even parsed."""
    found: list[Json] = []
    for part in documents(text):
        if mentions_secrets(part):
            with contextlib.suppress(Permanent):
                found += parse_objects(part)
    return found


def _unzipped(packed: bytes, largest: int, name: str) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    text = unpacker.decompress(packed, largest)
    if unpacker.unconsumed_tail:
        raise Permanent(f"The release in the Secret `{name}` unpacks to more than {largest} bytes and is not read.")
    if not unpacker.eof:
        raise Permanent(f"The release in the Secret `{name}` is cut off.")
    return text


def _labels(secret: Mapping[str, Any]) -> dict[str, str]:
    labels = (secret.get("metadata") or {}).get("labels")
    return {str(key): str(value) for key, value in labels.items()} if isinstance(labels, Mapping) else {}


def _user_labels(secret: Mapping[str, Any]) -> dict[str, str]:
    return {key: value for key, value in _labels(secret).items() if key not in SYSTEM_LABELS}


def _state(secret: Mapping[str, Any]) -> RevisionState | None:
    labels = _labels(secret)
    if not labels.get("version", "").isdecimal():
        return None
    return RevisionState(int(labels["version"]), Status(labels.get("status", "")), _user_labels(secret))
