"""What may happen to a program that we run, shown with small shell scripts in Helm's place."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bot.errors import OutcomeUnknown, Permanent
from bot.helm.process import Finished, Patience, ProgramMissing, Stop, run_program

Script = Callable[[str], list[str]]
CHECKOUT = Path(__file__).parents[2]
ENV = {"PATH": os.environ["PATH"]}


@pytest.fixture
def script(tmp_path: Path) -> Script:
    def write(body: str) -> list[str]:
        path = tmp_path / "helm"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return [str(path), "upgrade", "aeterna"]

    return write


async def run(
    argv: list[str],
    cwd: Path,
    *,
    stop: Stop = Stop.KILL,
    deadline: float = 60,
    patience: Patience | None = None,
    on_line: Callable[[str], None] | None = None,
    stdout_limit: int = 1024 * 1024,
) -> Finished:
    return await run_program(
        argv,
        env=ENV,
        cwd=cwd,
        deadline=deadline,
        stop=stop,
        patience=patience,
        on_line=on_line,
        stdout_limit=stdout_limit,
    )


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 — there is nothing to await in another process
            await asyncio.sleep(0.01)


async def appears(path: Path) -> None:
    await eventually(path.exists)


def ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_exit_code_and_both_streams_are_returned(script: Script, tmp_path: Path) -> None:
    done = await run(script("echo out; echo err >&2; exit 3"), tmp_path)
    assert (done.exit_code, done.stdout, done.stderr) == (3, b"out\n", "err\n")


async def test_lines_of_stderr_are_handed_on_while_it_runs(script: Script, tmp_path: Path) -> None:
    lines: list[str] = []
    first = asyncio.Event()

    def sink(line: str) -> None:
        lines.append(line)
        first.set()

    argv = script(f"echo one >&2; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; printf 'two\\nthree' >&2")
    task = asyncio.create_task(run(argv, tmp_path, on_line=sink))
    await first.wait()
    assert (lines, task.done()) == (["one"], False)
    (tmp_path / "go").touch()
    await task
    assert lines == ["one", "two", "three"]


async def test_a_program_that_is_missing_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ProgramMissing, match="helm") as caught:
        await run([str(tmp_path / "helm"), "version"], tmp_path)
    assert caught.value.way_out


async def test_a_file_that_is_no_program_is_named(tmp_path: Path) -> None:
    (tmp_path / "helm").write_text("text")
    with pytest.raises(ProgramMissing, match="Permission denied"):
        await run([str(tmp_path / "helm"), "version"], tmp_path)


async def test_cancelling_a_read_kills_it_and_its_children(script: Script, tmp_path: Path) -> None:
    argv = script(
        f"trap '' TERM; sleep 1000 & echo $! > {tmp_path}/child.new; mv {tmp_path}/child.new {tmp_path}/child; wait"
    )
    task = asyncio.create_task(run(argv, tmp_path, patience=Patience(kill=0.1)))
    await appears(tmp_path / "child")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    child = int((tmp_path / "child").read_text())
    await eventually(lambda: ended(child))


async def test_cancelling_an_upgrade_asks_it_to_end_and_waits_for_it(script: Script, tmp_path: Path) -> None:
    argv = script(
        f"trap 'touch {tmp_path}/asked; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; touch {tmp_path}/ended; exit 1' TERM\n"
        f"touch {tmp_path}/up; while :; do sleep 0.02; done"
    )
    task = asyncio.create_task(run(argv, tmp_path, stop=Stop.ASK))
    await appears(tmp_path / "up")
    task.cancel()
    await appears(tmp_path / "asked")
    task.cancel()  # somebody else is impatient; it changes nothing
    await asyncio.sleep(0)
    assert not task.done()
    (tmp_path / "go").touch()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (tmp_path / "ended").exists()


async def test_an_upgrade_that_must_be_killed_has_an_unknown_outcome(script: Script, tmp_path: Path) -> None:
    argv = script(f"trap '' TERM; touch {tmp_path}/up; while :; do sleep 0.02; done")
    task = asyncio.create_task(run(argv, tmp_path, stop=Stop.ASK, patience=Patience(ask=0.1)))
    await appears(tmp_path / "up")
    task.cancel()
    with pytest.raises(OutcomeUnknown, match="killed"):
        await task


async def test_cancelling_a_rollback_waits_for_its_end_and_sends_no_signal(script: Script, tmp_path: Path) -> None:
    argv = script(
        f"trap 'touch {tmp_path}/signalled' TERM INT HUP\n"
        f"touch {tmp_path}/up; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; touch {tmp_path}/ended"
    )
    task = asyncio.create_task(run(argv, tmp_path, stop=Stop.NEVER))
    await appears(tmp_path / "up")
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.02)
        assert not task.done()
    (tmp_path / "go").touch()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (tmp_path / "ended").exists()
    assert not (tmp_path / "signalled").exists()


async def test_a_rollback_past_its_deadline_is_left_running(script: Script, tmp_path: Path) -> None:
    argv = script(f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; echo busy >&2; done; touch {tmp_path}/ended")
    with pytest.raises(OutcomeUnknown, match="left to finish"):
        await run(argv, tmp_path, stop=Stop.NEVER, deadline=0.2)
    assert not (tmp_path / "ended").exists()
    (tmp_path / "go").touch()
    await appears(tmp_path / "ended")
    left = [task for task in asyncio.all_tasks() if "program" in task.get_name()]
    await asyncio.gather(*left)


async def test_a_read_past_its_deadline_is_ended_and_says_so(script: Script, tmp_path: Path) -> None:
    done = await run(script("exec sleep 1000"), tmp_path, deadline=0.1)
    assert (done.timed_out, done.exit_code) == (True, -signal.SIGTERM)


async def test_too_much_output_is_an_error_and_not_memory(script: Script, tmp_path: Path) -> None:
    argv = script("while :; do echo 0123456789012345678901234567890123456789; done")
    with pytest.raises(Permanent, match="printed more than"):
        await run(argv, tmp_path, stdout_limit=10_000)


async def test_a_long_stderr_keeps_its_beginning_and_its_end(script: Script, tmp_path: Path) -> None:
    argv = script(
        "echo first >&2; i=0; while [ $i -lt 4000 ]; do echo 01234567890123456789 >&2; i=$((i+1)); done; echo last >&2"
    )
    done = await run(argv, tmp_path)
    assert done.stderr.startswith("first\n")
    assert done.stderr.endswith("last\n")
    assert "bytes left out" in done.stderr


async def test_a_program_outlives_the_death_of_the_process_that_started_it(script: Script, tmp_path: Path) -> None:
    argv = script(
        f"touch {tmp_path}/up; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done\n"
        f"echo late >&2; echo late; echo late >&2; touch {tmp_path}/ended"
    )
    starter = (
        "import asyncio, pathlib\n"
        "from bot.helm.process import Stop, run_program\n"
        f"asyncio.run(run_program({argv!r}, env={ENV!r}, cwd=pathlib.Path({str(tmp_path)!r}), deadline=60,"
        " stop=Stop.NEVER, on_line=print))"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", starter, cwd=CHECKOUT)
    await appears(tmp_path / "up")
    parent.kill()
    await parent.wait()
    (tmp_path / "go").touch()
    await appears(tmp_path / "ended")
