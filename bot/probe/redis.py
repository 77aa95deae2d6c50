"""A Redis, or what speaks its protocol (Dragonfly, Valkey): version, memory in use, keys of each database. By ``INFO`` alone."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from bot.probe.asking import (
    ANSWER_SECONDS,
    Question,
    Unanswered,
    broke_off,
    late,
    no_tls,
    reached,
    roots,
    said,
)
from bot.probe.result import Count, ProbeResult, Reason, emptiness

_PRODUCTS = (("dragonfly_version", "Dragonfly"), ("valkey_version", "Valkey"), ("redis_version", "Redis"))


async def look(asked: Question) -> ProbeResult:
    """What is there. Raises ``Unanswered``."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await reached(asked)
            return result_of(await _info(asked))
    except (TimeoutError, exceptions.TimeoutError) as error:
        raise late(asked) from error
    except exceptions.RedisError as error:
        raise _failure(asked, error) from error


async def _info(asked: Question) -> dict[str, Any]:
    encryption: dict[str, Any] = {
        "ssl": True,
        "ssl_cert_reqs": "none" if asked.tls == "require" else "required",
        "ssl_check_hostname": asked.tls == "verify-full",
        "ssl_ca_certs": roots(),
    }
    client = Redis(
        host=asked.host,
        port=asked.port,
        db=asked.database or 0,
        username=asked.user or None,
        password=asked.password or None,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 0),
        driver_info=None,  # we ask, and leave no trace of a client's name
        protocol=2,
        **(encryption if asked.encrypted else {}),
    )
    async with client:
        return dict(await client.info())


def result_of(info: dict[str, Any]) -> ProbeResult:
    """What ``INFO`` says, as redis-py reads it."""
    named = next(((product, str(info[key])) for key, product in _PRODUCTS if info.get(key)), ("", ""))
    databases = {name: value for name, value in info.items() if name.startswith("db") and isinstance(value, dict)}
    counts = tuple(Count(name, int(value["keys"])) for name, value in databases.items() if "keys" in value)
    memory = info.get("used_memory")
    return ProbeResult(
        "redis",
        product=named[0],
        version=named[1].removeprefix("df-").removeprefix("v"),
        size=int(memory) if memory is not None else None,
        counts=counts,
        empty=emptiness(counts),
        read_only=info.get("role") in ("slave", "replica"),
    )


def _failure(asked: Question, error: exceptions.RedisError) -> Unanswered:
    words = f"{asked.place} says: {said(asked, str(error))}"
    if isinstance(error, exceptions.AuthenticationError):
        return Unanswered(Reason.WRONG_PASSWORD, words)
    if isinstance(error, exceptions.NoPermissionError):
        return Unanswered(Reason.FORBIDDEN, words)
    cause = error.__cause__
    if isinstance(cause, exceptions.RedisError):
        return _failure(asked, cause)
    if isinstance(cause, ssl.SSLError) or "SSL" in words or "certificate" in words:
        return no_tls(asked, str(error))
    if "DB index" in str(error) or "Invalid Database" in str(error):
        return Unanswered(Reason.NO_DATABASE, words)
    if isinstance(error, exceptions.ConnectionError):
        return broke_off(asked)
    return Unanswered(Reason.OTHER, words)
