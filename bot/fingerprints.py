"""Keyed fingerprints: they tell that a secret, or values with secrets in them, changed, and nothing else about them.

An HMAC-SHA256 under a key that every replica derives from the Slack bot token: each has that already, it is long and random, and
nothing more has to be made, mounted and kept. The key is never stored or shown. A short secret cannot be guessed from its
fingerprint, as it could from a plain hash. A new token is a new key; a digest names its key, which tells that from a change.
"""

from __future__ import annotations

import hmac
import json
import re
from typing import Any

_PURPOSE = "aeterna-bot fingerprints 1"  # the token is used for something else too: one purpose, one key
_DIGEST = re.compile(r"hmac:(?P<key>[0-9a-f]{8}):[0-9a-f]{64}")
OTHER_KEY = (
    "fingerprints of values and manifests were made under another key, because the bot's Slack token was renewed since, "
    "so nobody can tell whether they changed"
)


class Fingerprints:
    """Fingerprints under the key that ``token`` and ``scope`` give. Those of another scope (a target) cannot be compared."""

    def __init__(self, token: str, *, scope: str = "") -> None:
        self._key = hmac.digest(token.encode(), f"{_PURPOSE}\0{scope}".encode(), "sha256")
        self._id = hmac.digest(self._key, b"id", "sha256").hex()[:8]

    def mark(self, text: str) -> str:
        """Eight characters that stand for a secret in a text; another secret has other ones."""
        return hmac.digest(self._key, text.encode(), "sha256").hex()[:8]

    def digest(self, value: Any) -> str:
        """``hmac:KEY:…`` over the canonical JSON: equal for equal values however they were written."""
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
        return f"hmac:{self._id}:{hmac.digest(self._key, text.encode(), 'sha256').hex()}"


def other_key(one: str | None, other: str | None) -> bool:
    """Whether both are digests, and made under different keys."""
    first, second = _DIGEST.fullmatch(one or ""), _DIGEST.fullmatch(other or "")
    return bool(first and second and first["key"] != second["key"])
