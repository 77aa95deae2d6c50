"""The lines of ``make bench``."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.bench import ticking
from tests.bench.figures import Figure, compared


def test_line_names_both_sides_the_ratio_the_limit_and_the_verdict() -> None:
    figure = Figure("ack_status", 2.5, 2.0, 1.25, "ratio", "ms")
    assert str(figure) == "ack_status ours=2.5ms other=2ms ratio=1.25 limit=ratio≤1.25 ok"


def test_ratio_above_its_limit_is_over_even_when_it_rounds_to_it() -> None:
    figure = Figure("ack_status", 2.503, 2.0, 1.25, "ratio", "ms")
    assert not figure.ok
    assert str(figure).endswith("ratio=1.25 limit=ratio≤1.25 OVER")


@pytest.mark.parametrize(("ours", "verdict"), [(109.9, "ok"), (110.0, "ok"), (110.4, "OVER")])
def test_limit_for_the_most_is_kept_by_ours_alone(ours: float, verdict: str) -> None:
    line = str(Figure("idle_rss", ours, 45.0, 110, "most", "MB"))
    assert line.endswith(f"limit=ours≤110MB {verdict}")


def test_limit_for_the_least_turns_it_round() -> None:
    assert Figure("interval", 1.6, None, 1.5, "least", "s").ok
    assert not Figure("interval", 1.4, None, 1.5, "least", "s").ok


def test_without_another_side_there_is_a_dash_and_no_ratio() -> None:
    line = str(Figure("delay", 0.25, None, 2, "most", "s"))
    assert line == "delay ours=0.25s other=– ratio=– limit=ours≤2s ok"


def test_ratio_that_could_not_be_measured_is_over() -> None:
    assert not Figure("ack_status", 1.0, None, 1.25, "ratio").ok
    assert not Figure("ack_status", 1.0, 0.0, 1.25, "ratio").ok


def test_medians_are_compared_so_one_bad_moment_does_not_count() -> None:
    figure = compared("ack", [0.001, 0.002, 9.0], [0.004, 0.002, 0.001], limit=1.25, unit="ms", scale=1000)
    assert (figure.ours, figure.other, figure.ratio) == (2.0, 2.0, 1.0)


def test_large_numbers_have_no_exponent() -> None:
    assert "ours=12346s" in str(Figure("long", 12345.6, None, 20000, "most", "s"))


def test_longest_gap_is_the_longest_of_those_that_ended_in_the_time_asked_for() -> None:
    ticks = "10.000 0.9000\n11.000 0.0200\n12.500 0.0410\n14.000 0.7000\n"
    assert ticking.longest(ticks, since=10.5, until=13.0) == 0.041
    assert ticking.longest(ticks, since=20.0, until=21.0) == 0.0


async def test_clock_notes_that_something_held_up_the_event_loop(tmp_path: Path) -> None:
    file = tmp_path / ticking.FILE
    clock = asyncio.create_task(ticking.tick(file))
    await asyncio.sleep(0)
    began = time.time()
    busy_until = time.thread_time() + 0.05
    while time.thread_time() < busy_until:
        pass
    await asyncio.sleep(2 * ticking.EVERY)
    clock.cancel()
    assert ticking.longest(file.read_text(), since=began, until=time.time()) >= ticking.NOTED
