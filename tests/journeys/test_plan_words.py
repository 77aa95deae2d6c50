"""What a version brings and what it would change here, asked for before anybody plans."""

from __future__ import annotations

from dev.charts import GOOD_VERSIONS
from tests.journeys.conftest import Start
from tests.slack.support import everything


async def test_a_changelog_tells_every_version_between_breaking_changes_first(start: Start) -> None:
    world = await start()
    for version in set(world.charts.versions) - set(GOOD_VERSIONS):
        world.charts.remove(version)
    await world.ask("changelog 0.1.0..0.3.0")
    card = await world.card("📰 Changelog for prod", "0.1.0 → 0.3.0: 3 versions, ", "4 breaking changes", "*Versions*")
    text = everything(card)
    assert text.index("*Breaking*") < text.index("*Migration notes*") < text.index("*Versions*")
    assert "aeterna.features.radkit is gone. (chart annotations)" in text
    assert "*0.1.0 → 0.2.0*" in text, "notes chain"
    assert "*0.2.1 → 0.3.0* · 1 breaking change, " in text
    assert "the database cannot go back" in text
    whole = await world.file(card, "changes-0.1.0-0.3.0")
    for version in ("0.2.0", "0.2.1", "0.3.0"):
        assert f"\n{version}\n" in whole
    await world.ask("changelog")
    await world.card("📰 Changelog for prod", "0.2.0 → 0.3.0: ")


async def test_a_difference_is_shown_part_by_part_and_changes_nothing(start: Start) -> None:
    world = await start()
    before = await world.resource_versions()
    for part, name, line in (
        ("values", "values.diff", "-    radkit: false"),
        ("schema", "schema.diff", "BREAKING: aeterna.features.radkit is no longer among the chart's values."),
        ("manifests", "manifests.diff", "AETERNA_LOG_FORMAT"),
    ):
        await world.ask(f"diff 0.3.0 {part}")
        card = await world.card("🔀 Differences for prod", f"0.2.0 → 0.3.0: {part}: ")
        assert line in await world.file(card, name)
        assert card.buttons == []
    await world.ask("diff 0.3.0")
    await world.card("🔀 Differences for prod", "values: ", "schema: ", "manifests: ")
    assert await world.resource_versions() == before
