"""JSON over an aiohttp session with a service, errors by meaning. Shared by the clients of this folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from bot.errors import Permanent, Refused, Temporary
from bot.silence import silence

GATEWAY = {502, 503, 504}


@dataclass(frozen=True)
class Answer:
    """An HTTP answer that came; ``body`` is its JSON, or its text when it is no JSON."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def fields(self) -> dict[str, Any]:
        """The body when it is a JSON object, else empty."""
        return self.body if isinstance(self.body, dict) else {}

    @property
    def said(self) -> str:
        """The service's own words about what went wrong."""
        status = self.fields.get("status")
        nested = status if isinstance(status, dict) else {}  # Qdrant's {"status": {"error": "…"}}
        for said in (self.fields.get("message"), self.fields.get("error"), nested.get("error")):
            if isinstance(said, str):
                return said
        return str(self.body)[:300] if self.body else f"HTTP {self.status}"


class Unreached(Temporary):
    """The service never saw the request: refused, no route, or the forward to its pod failed."""


class ServiceHttp:
    """Requests to one service; ``name`` is what errors call it."""

    def __init__(
        self, http: aiohttp.ClientSession, name: str, *, headers: Mapping[str, str] | None = None, seconds: float
    ) -> None:
        self._http = http
        self.name = name
        self._headers = dict(headers or {})
        self._limits = aiohttp.ClientTimeout(total=seconds)

    async def ask(
        self, method: str, path: str, *, body: object = None, params: Mapping[str, str] | None = None
    ) -> Answer:
        """Any answer, whatever its status. Raises Temporary when none came, Unreached when nothing was asked."""
        try:
            async with self._http.request(
                method, path, json=body, params=params, headers=self._headers, timeout=self._limits
            ) as response:
                text = await response.text(errors="replace")
                answer = Answer(response.status, _parsed(text), response.headers)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            kind = Unreached if isinstance(error, aiohttp.ClientConnectorError) else Temporary
            why = silence(error)
            text = f"{self.name} cannot be reached ({method} {path}): {why.reason}."
            raise kind(text, way_out=f"{why.way_out}.") from error
        if answer.status == 502 and answer.fields.get("error") == "port_forward_failed":
            raise Unreached(f"{self.name} cannot be reached ({method} {path}): {answer.said}.")
        return answer

    async def get(self, path: str, *, params: Mapping[str, str] | None = None) -> Answer:
        """An answer in 2xx; see ``demand``."""
        return self.demand(await self.ask("GET", path, params=params), f"GET {path}")

    def demand(self, answer: Answer, what: str) -> Answer:
        """``answer`` when it is in 2xx. Else Refused (401, 403), Temporary (429, 502 to 504) or Permanent."""
        if answer.ok:
            return answer
        text = f"{self.name} answered {answer.status} to {what}: {answer.said}."
        if answer.status in (401, 403):
            raise Refused(text, way_out="Check the credentials that the target's configuration names.")
        if answer.status == 429 or answer.status in GATEWAY:
            raise Temporary(text, retry_after=retry_after(answer))
        raise Permanent(text)


def retry_after(answer: Answer) -> float | None:
    """The seconds that the service asks to wait: ``Retry-After``, or ``retryAfterSeconds`` in the body."""
    said = answer.headers.get("Retry-After") or answer.fields.get("retryAfterSeconds")
    try:
        return None if said is None else float(said)
    except (TypeError, ValueError):
        return None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
