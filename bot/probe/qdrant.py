"""A Qdrant over its REST API: version, and points of each collection. Its size on disk is not told there."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp

from bot.probe.asking import (
    ANSWER_SECONDS,
    COUNT_SECONDS,
    Question,
    Unanswered,
    broke_off,
    late,
    no_tls,
    reached,
    said,
    tls_context,
)
from bot.probe.result import MOST_COUNTS, Count, ProbeResult, Reason, emptiness

EACH_SECONDS = 4.0
_DENIED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


async def look(asked: Question) -> ProbeResult:
    """What is there. Raises ``Unanswered``."""
    try:
        await reached(asked)
        async with _session(asked) as http:
            return await _look(asked, http)
    except TimeoutError as error:
        raise late(asked) from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise no_tls(asked, str(error.certificate_error)) from error
    except aiohttp.ClientConnectorSSLError as error:
        raise no_tls(asked, str(error.os_error)) from error
    except aiohttp.ClientPayloadError as error:
        raise Unanswered(Reason.OTHER, f"{asked.place} broke off its answer.") from error
    except aiohttp.ClientError as error:
        raise broke_off(asked) from error


def _session(asked: Question) -> aiohttp.ClientSession:
    scheme = "https" if asked.encrypted else "http"
    host = f"[{asked.host}]" if ":" in asked.host else asked.host
    return aiohttp.ClientSession(
        f"{scheme}://{host}:{asked.port}",
        connector=aiohttp.TCPConnector(ssl=tls_context(asked) if asked.encrypted else False),
        headers={"api-key": asked.password} if asked.password else {},
        timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
        trust_env=False,
    )


async def _look(asked: Question, http: aiohttp.ClientSession) -> ProbeResult:
    listed = await _result(asked, http, "GET", "/collections")
    names = sorted(str(one["name"]) for one in listed.get("collections") or [])
    about = await _json(http, "GET", "/")
    notes: list[str] = []
    until = time.monotonic() + COUNT_SECONDS
    counts = tuple([await _count(asked, http, name, until, notes) for name in names])
    return ProbeResult(
        "qdrant",
        product="Qdrant",
        version=str(about.get("version") or "") if "qdrant" in str(about.get("title")).lower() else "",
        counts=counts[:MOST_COUNTS],
        left_out=max(0, len(counts) - MOST_COUNTS),
        empty=emptiness(counts),
        notes=tuple(notes),
    )


async def _count(asked: Question, http: aiohttp.ClientSession, name: str, until: float, notes: list[str]) -> Count:
    """Exactly, or as the collection's own description has it, which Qdrant calls approximate."""
    path = f"/collections/{quote(name, safe='')}"
    left = min(EACH_SECONDS, until - time.monotonic())
    if left <= 0:
        notes.append(f"{name} was not counted: there was no time left.")
        return Count(name, None, exact=False)
    limits = aiohttp.ClientTimeout(total=left)
    try:
        found = await _result(asked, http, "POST", f"{path}/points/count", body={"exact": True}, limits=limits)
        return Count(name, int(found["count"]))
    except (TimeoutError, aiohttp.ClientError, Unanswered, KeyError):
        pass  # the estimate, which is told as one
    try:
        points = (await _result(asked, http, "GET", path, limits=limits)).get("points_count")
    except (TimeoutError, aiohttp.ClientError, Unanswered) as error:
        notes.append(f"{name} could not be counted: {said(asked, str(error) or type(error).__name__)}")
        points = None
    return Count(name, int(points) if points is not None else None, exact=False)


async def _result(
    asked: Question,
    http: aiohttp.ClientSession,
    method: str,
    path: str,
    *,
    body: object = None,
    limits: aiohttp.ClientTimeout | None = None,
) -> dict[str, Any]:
    """The ``result`` of Qdrant's answer. Raises ``Unanswered`` when there is none."""
    options: dict[str, Any] = {"timeout": limits} if limits else {}
    async with http.request(method, path, json=body, **options) as answer:
        text = await answer.text(errors="replace")
        fields = await _fields(answer)
        if answer.status in _DENIED:
            words = f"{asked.place} does not accept the API key ({answer.status}): {said(asked, text)}"
            raise Unanswered(Reason.WRONG_PASSWORD, words)
        found = fields.get("result")
        if answer.status != HTTPStatus.OK or not isinstance(found, dict):
            words = f"{asked.place} answers {answer.status} to {method} {path}, not as Qdrant does: {said(asked, text)}"
            raise Unanswered(Reason.OTHER, words)
        return found


async def _json(http: aiohttp.ClientSession, method: str, path: str) -> dict[str, Any]:
    async with http.request(method, path) as answer:
        return await _fields(answer)


async def _fields(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    try:
        found = await answer.json(content_type=None)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
