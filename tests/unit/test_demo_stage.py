"""The demo's narrator: what was told before is counted, not told again."""

from __future__ import annotations

from dev.stage import folded


def test_lines_in_a_row_that_were_told_before_are_one_line() -> None:
    told = {"a", "b", "c", "d"}
    assert folded(["new", "a", "b", "c", "x", "d", "y"], told) == ["new", "⋮ 3 lines as before", "x", "d", "y"]
    assert folded(["a", "b"], told) == ["a", "b"]
    assert folded(["a", "b", "c"], set()) == ["a", "b", "c"]
