"""What a person reads when an approval became void: words where there are words, and never a digest."""

from __future__ import annotations

from bot.engine.parts import MOST, parts, without_parts
from bot.engine.planner import differences
from bot.fingerprints import Fingerprints
from bot.redaction import redact_values
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


def with_values(values: dict[str, object]) -> PlanRecord:
    ours = Fingerprints("xoxb-token")
    facts = {"values_digest": "x", **parts("values", list(values.items()), ours.mark)}
    return PlanRecord("d", (), facts, {"values": ours.digest(values)})


def test_the_values_that_differ_are_named_and_never_shown() -> None:
    before = with_values({"a.level": "info", "b.password": "hunter22", "c": [{"x": 1, "y": 2}]})
    now = with_values({"a.level": "debug", "b.password": "hunter22", "c": [{"y": 2, "x": 1}]})
    assert differences(before, now) == ["values (a.level)"]
    assert "hunter22" not in str(before.facts)
    assert "debug" not in str(now.facts)
    stored = PlanRecord("d", (), redact_values(before.facts), before.bindings)
    assert differences(stored, now) == ["values (a.level)"], "what was stored is redacted, and names the same"
    assert without_parts(now.facts) == {"values_digest": "x"}


def test_many_differences_are_counted_and_too_many_parts_are_not_kept() -> None:
    before, now = (with_values({f"v{number}": one for number in range(5)}) for one in (1, 2))
    assert differences(before, now) == ["values (v0, v1, v2 and 2 more)"]
    before, now = (with_values({f"v{number}": one for number in range(MOST + 1)}) for one in (1, 2))
    assert differences(before, now) == ["values"]
