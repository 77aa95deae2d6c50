"""``python -m bot.probe postgres --host=… --port=…``: one look, told as one line of JSON, the last one of the output.

The password is in the variable ``PROBE_PASSWORD``, never on the command line. The exit code is 0 when there is a result,
whatever it says: a failed Job would set off somebody's alarm.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import NoReturn, get_args

from bot.probe.asking import PASSWORD, Question, Unanswered
from bot.probe.result import Kind, ProbeResult, Tls, line_of


def _read(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[Kind, Question]:
    parser = argparse.ArgumentParser(prog="python -m bot.probe", description=__doc__, allow_abbrev=False)
    parser.add_argument("kind", choices=get_args(Kind))
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--database", default="", help="Redis: its number")
    parser.add_argument("--user", default="")
    parser.add_argument("--tls", choices=get_args(Tls), default="prefer", help="as libpq's sslmode")
    given = parser.parse_args(arguments)
    return given.kind, Question(
        host=given.host,
        port=given.port,
        database=given.database,
        user=given.user,
        tls=given.tls,
        password=environment.get(PASSWORD, ""),
    )


async def look(kind: Kind, asked: Question) -> ProbeResult:
    """One look; what keeps it from being one is a result too."""
    try:
        found: ProbeResult = await import_module(f"bot.probe.{kind}").look(asked)
    except Unanswered as error:
        return ProbeResult(kind, reason=error.reason, said=error.said)
    return found


async def _tell(kind: Kind, asked: Question) -> NoReturn:
    print(line_of(await look(kind, asked)), flush=True)  # noqa: T201 - this is what the program is for
    # A name server that does not answer keeps a thread for minutes, for which the interpreter would wait.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(_tell(*_read(sys.argv[1:], os.environ)))
