"""What a person reads when an approval became void: words where there are words, and never a digest."""

from __future__ import annotations

from bot.engine.planner import differences
from bot.store.records import PlanRecord

ONE, OTHER = "ab" * 32, "cd" * 32


def bound(**bindings: str) -> PlanRecord:
    return PlanRecord("d", (), {}, {name.replace("_", " "): value for name, value in bindings.items()})


def test_what_can_be_read_is_shown_and_a_digest_is_only_named() -> None:
    before = bound(release_revision="1 (deployed)", values=ONE, manifest=ONE, data_lost="none")
    after = bound(release_revision="2 (deployed)", values=OTHER, manifest=ONE, data_lost=ONE)
    assert differences(before, after) == ["data lost", "release revision: 1 (deployed) → 2 (deployed)", "values"]
    assert differences(before, before) == []


def test_a_part_that_is_new_or_gone_is_told() -> None:
    assert differences(bound(), bound(apply_mode="server-side")) == ["apply mode: nothing → server-side"]
    assert differences(bound(migration_notes=ONE), bound()) == ["migration notes"]
    (said,) = differences(bound(target_revision="1"), bound(target_revision="x" * 60))
    assert said == f"target revision: 1 → {'x' * 39}…"
