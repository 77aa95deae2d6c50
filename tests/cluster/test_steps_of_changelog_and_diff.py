"""The reports about a version that does not run yet: every source of changes, and what it would change here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from bot.engine.contract import Outcome
from bot.errors import Permanent
from bot.helm.failures import ChartVersionNotFound
from bot.services.release_notes import ReleaseNotes
from dev.charts import BadVersion, light_values
from tests.cluster.runbook_world import World


def parts(outcome: Outcome) -> Mapping[str, Any]:
    """The report's sections by title, each as one text."""
    found = outcome.facts["report"]
    return {one["title"]: one.get("text") or "\n".join(" · ".join(row) for row in one["rows"]) for one in found}


async def test_a_changelog_tells_every_version_between_with_breaking_changes_first(world: World) -> None:
    outcome = await world.do("report.changelog", range="0.1.0..0.3.0")
    assert outcome.summary.startswith("0.1.0 → 0.3.0: ")
    told = parts(outcome)
    assert list(told)[:2] == ["Breaking", "Migration notes"]
    assert "0.3.0: BREAKING: aeterna.features.radkit is gone. (chart annotations)" in told["Breaking"]
    assert "0.2.1 → 0.3.0 · 1 breaking change, 1 renamed value" in told["Migration notes"]
    assert [line.split(" · ")[0] for line in told["Versions"].splitlines()][1:3] == ["0.3.0", "0.2.19"]
    (file,) = outcome.evidence
    assert file.text.index("BREAKING") < file.text.index("0.1.0 → 0.2.0\n  source: migration notes")


async def test_without_a_range_it_goes_from_what_runs_to_the_newest_that_is_no_prerelease(world: World) -> None:
    with pytest.raises(Permanent, match="There is no release") as raised:
        await world.do("report.changelog")
    assert "changelog 0.1.0..0.2.1" in raised.value.way_out
    await world.install("0.2.14", {**light_values(), "audit": {"sink": "stdout"}}, settled=False)
    world.repository.add("0.4.0-rc.1")
    outcome = await world.do("report.changelog")
    assert outcome.summary.startswith("0.2.14 → 0.3.0: 6 versions")


async def test_what_is_unreachable_is_said_in_the_report(world: World) -> None:
    async with aiohttp.ClientSession() as http:
        notes = ReleaseNotes("http://127.0.0.1:9/{version}", http=http)
        world.clients = replace(world.clients, notes=notes)
        outcome = await world.do("report.changelog", range="0.1.0..0.2.0")
        assert outcome.warning
        assert "The release notes of 0.2.0 could not be read from 127.0.0.1" in parts(outcome)["Could not be read"]
    world.clients = replace(world.clients, notes=None)
    await world.repository.offline()
    away = await world.do("report.changelog", range="0.1.0..0.2.0")
    assert "The versions between are not known" in parts(away)["Could not be read"]
    assert "0.1.0 → 0.2.0" in parts(away)["Migration notes"]


async def test_a_diff_shows_values_schema_and_manifests_and_their_files(world: World) -> None:
    values = light_values()
    values["aeterna"]["logging"] = {"level": "debug"}
    values["llm"] = {"apiKey": "tr0ub4dor-and-more"}
    await world.install("0.2.1", values, settled=False)
    world.asking("diff", version="0.3.0", part=None)
    outcome = await world.do("report.diff")
    assert outcome.summary.startswith("0.2.1 → 0.3.0: values: ")
    told = parts(outcome)
    assert "it is now observability.logging.level" in told["Values"]
    assert "aeterna.logging" in told["Schema and defaults"]
    assert {"values.diff", "schema.diff", "manifests.diff"} <= {one.title for one in outcome.evidence}
    assert "tr0ub4dor" not in repr(outcome)


async def test_one_part_alone_is_shown_and_one_that_cannot_be_compared_is_said(world: World) -> None:
    await world.install("0.2.1", settled=False)
    world.asking("diff", version=BadVersion.SCHEMA_REFUSES, part="schema")
    outcome = await world.do("report.diff", part="schema")
    assert list(parts(outcome)) == ["Schema and defaults"]
    assert "BREAKING: aeterna.tenantSlug is new (string) and required" in parts(outcome)["Schema and defaults"]
    world.asking("diff", version="0.9.0")
    with pytest.raises(ChartVersionNotFound):
        await world.do("report.diff", part="values")


async def test_versions_say_what_each_is_from_here(world: World) -> None:
    await world.install("0.2.0", settled=False)
    world.repository.add("0.4.0-rc.1")
    outcome = await world.do("report.versions")
    rows = dict(line.split(" · ")[:2] for line in parts(outcome)["Versions"].splitlines())
    assert (rows["0.1.0"], rows["0.2.0"], rows["0.3.0"]) == ("older", "runs now", "upgrade")
    assert rows["0.4.0-rc.1"] == "upgrade, pre-release"
    assert "and 1 pre-release can be reached from here." in outcome.summary
