"""The command line: ``serve``, ``check-config``, ``runbooks``, ``audit``, ``db``. Everything else happens in Slack."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from bot import settings as configuration
from bot.errors import BotError

Result = TypeVar("Result")
_config = click.option(
    "--config", "file", type=click.Path(path_type=Path), help="The configuration file; else AETERNA_BOT_CONFIG."
)


@click.group()
@click.version_option(package_name="aeterna-bot")
@click.option("--log-level", default="INFO", show_default=True, envvar="AETERNA_BOT_LOG_LEVEL")
def main(log_level: str) -> None:
    """Runs Aeterna's upgrade, rollback and emergency runbooks from Slack."""
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    for chatty in ("apscheduler", "slack_sdk", "aiohttp.access", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # Bolt finds SLACK_BOT_TOKEN in the environment as well, and warns that it does not use it.
    logging.getLogger("slack_bolt.AsyncApp").setLevel(logging.ERROR)


@main.command()
@_config
def serve(file: Path | None) -> None:
    """Connect to Slack and carry runs until told to stop."""
    from bot.app import serve as run

    _keep_the_loop_prompt()
    _run(run(_load(file)))


@main.command("check-config")
@_config
def check_config(file: Path | None) -> None:
    """Try everything that the configuration names: tokens, channels, cluster, rights, chart repository."""
    from bot.checkup import check

    async def show() -> int:
        bad = 0
        async for line in check(settings):
            click.echo(f"{'ok  ' if line.good else 'FAIL'} {line.subject}: {line.text}")
            if not line.good:
                bad += 1
                if line.way_out:
                    click.echo(f"     → {line.way_out}")
        return bad

    settings = _load(file)
    bad = _run(show())
    click.echo("Everything is in order." if bad == 0 else f"{bad} thing(s) to put right.")
    sys.exit(1 if bad else 0)


@main.group()
def runbooks() -> None:
    """Look at runbooks without starting the bot."""


@runbooks.command("lint")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def lint(folder: Path) -> None:
    """Check every runbook and migration note in FOLDER, as the bot does when it starts."""
    from runbooks.library import RunbookLibrary
    from runbooks.registry import shipped_registry

    problems = _guarded(lambda: RunbookLibrary(shipped_registry()).lint(folder))
    for problem in problems:
        click.echo(problem)
    click.echo("No problems." if not problems else f"{len(problems)} problem(s).")
    sys.exit(1 if problems else 0)


@runbooks.command("show")
@click.argument("name", required=False)
@click.option(
    "--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A folder that adds to ours."
)
def show(name: str | None, folder: Path | None) -> None:
    """Print the runbook NAME, or the names of all."""
    from runbooks.library import RunbookLibrary
    from runbooks.registry import shipped_registry

    library = _guarded(lambda: RunbookLibrary(shipped_registry(), users=folder))
    if name is not None:
        click.echo(_guarded(lambda: library.text(name)).rstrip())
        return
    for found in library.names():
        click.echo(f"{found:12} {library.parse(library.text(found)).summary}")


@main.group()
def audit() -> None:
    """The audit trail."""


@audit.command("verify")
@_config
def verify(file: Path | None) -> None:
    """Find a changed, removed or reordered row."""
    from bot.store import audit as trail
    from bot.store.database import Database

    async def look() -> tuple[int, str | None]:
        database = Database(_load(file, slack=False).database_url.get_secret_value())
        try:
            return await trail.verify(database)
        finally:
            await database.close()

    count, problem = _run(look())
    click.echo(f"{count} row(s) hold." if problem is None else f"{count} row(s) hold. {problem}")
    sys.exit(0 if problem is None else 1)


@audit.command("export")
@_config
def export(file: Path | None) -> None:
    """Print every row as one line of JSON, oldest first."""
    from bot.store import audit as trail
    from bot.store.database import Database

    async def write() -> None:
        database = Database(_load(file, slack=False).database_url.get_secret_value())
        try:
            async for row in trail.rows(database):
                click.echo(json.dumps({**asdict(row), "at": row.at.isoformat()}, ensure_ascii=False))
        finally:
            await database.close()

    _run(write())


@main.group()
def db() -> None:
    """The bot's own database."""


@db.command("upgrade")
@_config
def upgrade(file: Path | None) -> None:
    """Bring the schema up to date; ``serve`` does the same when it starts."""
    from bot.store.database import Database

    async def migrate() -> None:
        database = Database(_load(file, slack=False).database_url.get_secret_value())
        try:
            await database.ready()
        finally:
            await database.close()

    _run(migrate())
    click.echo("The schema is up to date.")


def _keep_the_loop_prompt() -> None:
    """For acks beside the threads in which a large plan is computed; both are settings of the whole process.

    Every system call lets go of the interpreter's lock. With Python's 5 ms a turn of the event loop that reads and writes
    twenty times would wait a tenth of a second to get it back from a thread that computes. And the garbage collector would
    walk through everything a dozen times a plan, a tenth of a second each: what is loaded by now stays, and the objects of
    a plan, which are trees, need no collector.
    """
    sys.setswitchinterval(0.0005)
    gc.freeze()
    gc.set_threshold(2_000, 10, 10)


def _load(file: Path | None, *, slack: bool = True) -> configuration.Settings:
    return _guarded(lambda: configuration.load(os.environ, file=file, slack=slack))


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    return _guarded(lambda: asyncio.run(work))


def _guarded(work: Callable[[], Result]) -> Result:
    """The result of ``work()``; an error of ours becomes its sentence and exit code 2."""
    try:
        return work()
    except BotError as error:
        click.echo(error.message, err=True)
        if error.way_out:
            click.echo(f"→ {error.way_out}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
