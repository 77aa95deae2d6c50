"""plan.json: the same plan is the same text, whatever the order of maps; secrets are not in it."""

from __future__ import annotations

import json
import random
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bot.engine.plandoc import plan_json
from bot.engine.planner import digest_of
from bot.store.records import FindingRecord, PlanRecord, RunRecord, RunState

NOW = datetime(2026, 11, 22, tzinfo=UTC)
NOT_CODES = {
    "api.versions",
    "chart.version",
    "health.now",
    "crds.diff",
    "values.compare",
    "values.diff",
    "values.yaml",
    "values.json",
    "external.service",
    "external.parts",
    "external.compare",
}
"""Names of checks and files."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


def run(**changes: Any) -> RunRecord:
    values: dict[str, Any] = {
        "id": "r-1",
        "key": "k",
        "target": "prod",
        "runbook": "upgrade",
        "runbook_text": "name: upgrade",
        "inputs": {"version": "0.2.1"},
        "state": RunState.PLANNING,
        "mutates": True,
        "requested_by": "U0ALICE",
        "channel": "C0OPS",
        "created_at": NOW,
        "updated_at": NOW,
    }
    return RunRecord(**(values | changes))


def shuffled(value: Any, rng: random.Random) -> Any:
    """The same value with every mapping in another order."""
    if isinstance(value, dict):
        items = [(key, shuffled(item, rng)) for key, item in value.items()]
        rng.shuffle(items)
        return dict(items)
    return [shuffled(item, rng) for item in value] if isinstance(value, list) else value


@given(
    st.dictionaries(st.text(max_size=6), JSON, max_size=5),
    st.dictionaries(st.text(max_size=6), st.text()),
    st.integers(),
)
def test_order_of_maps_time_and_requester_do_not_matter(
    facts: dict[str, Any], bindings: dict[str, str], seed: int
) -> None:
    rng = random.Random(seed)
    digest = digest_of(run(), bindings)
    again = run(id="r-2", requested_by="U0BOB", created_at=datetime(2027, 1, 1, tzinfo=UTC), channel="C0INC")
    assert digest_of(again, shuffled(bindings, rng)) == digest
    first = plan_json(run(), PlanRecord(digest, (), facts, bindings))
    assert plan_json(again, PlanRecord(digest, (), shuffled(facts, rng), shuffled(bindings, rng))) == first


def test_every_part_that_an_approval_is_bound_to_changes_the_digest() -> None:
    bindings = {"release revision": "3"}
    digests = {
        digest_of(run(), bindings),
        digest_of(run(target="staging"), bindings),
        digest_of(run(runbook_text="name: other"), bindings),
        digest_of(run(inputs={"version": "0.3.0"}), bindings),
        digest_of(run(supplied={"a.b": 1}), bindings),
        digest_of(run(), {"release revision": "4"}),
    }
    assert len(digests) == 6


def test_the_document_has_its_version_verdict_and_counts_and_no_secret() -> None:
    findings = (
        FindingRecord("x", "blocker", "password: hunter22 is wrong", code="c"),
        FindingRecord("y", "info", "fine"),
    )
    found = json.loads(plan_json(run(), PlanRecord("d", findings, {"admin": {"password": "hunter22"}}, {})))
    assert (found["version"], found["verdict"], found["counts"]) == (
        1,
        "blocked",
        {"blocker": 1, "warning": 0, "info": 1},
    )
    assert "hunter22" not in json.dumps(found)


def test_a_plan_that_could_not_look_at_everything_is_incomplete_and_one_with_a_blocker_is_blocked() -> None:
    unseen, blocked = FindingRecord("x", "warning", "no look", code="unseen"), FindingRecord("y", "blocker", "no")
    verdicts = [
        json.loads(plan_json(run(), PlanRecord("d", findings, {}, {})))["verdict"]
        for findings in ((), (unseen,), (unseen, blocked))
    ]
    assert verdicts == ["ready", "incomplete", "blocked"]


def test_the_page_about_the_plan_names_every_field_code_and_binding() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "plan.md").read_text()
    fields = set(json.loads(plan_json(run(), PlanRecord("d", (), {}, {}))))
    assert {field for field in fields if f"`{field}`" not in page} == set()
    sources = "\n".join(
        file.read_text() for part in ("bot/kube", "runbooks/checks") for file in (root / part).glob("*.py")
    )
    families = (
        "api|budget|capacity|changes|chart|crds|external|health|limits|migration|objects|priority|quota|scaler|secrets|"
        "values"
    )
    written = set(re.findall(rf'"((?:{families}|volume)\.[a-z_]+)"', sources)) - NOT_CODES
    assert {code for code in written if f"`{code}`" not in page} == set()
    bound = set(re.findall(r'bindings=\{"([a-z ]+)"', sources)) | {
        "cluster",
        "release revision",
        "manifest",
        "apply mode",
        "external service",
        "external secret",
        "chart version",
    }
    assert {name for name in bound if f"`{name}`" not in page} == set()
