"""Changelogs as people write them: Markdown inside charts, pages of release notes, and what is made of them together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bot.diff.changefiles import entries, from_files, sections, version_in
from bot.diff.changelog import has_security_updates, is_prerelease
from bot.diff.migrations import MigrationNote
from bot.errors import Permanent, Temporary
from bot.helm.charts import ChartVersion, PulledChart
from bot.services.release_notes import ReleaseNotes
from runbooks.changes import collect, written_out

CHANGELOG = """\
# Changelog
## [Unreleased]
- nobody may see this
## [0.4.0] - 2026-03-09
### BREAKING CHANGES
- **The old key** is `gone`
  and more on a second line.
  - and below it
### Added
- A thing.
## 0.3.0 (2026-01-02)
Only a paragraph
over two lines.

```
- no entry
```
v0.2.0
------
* fixed it
"""


@pytest.mark.parametrize(
    ("heading", "version"),
    [
        ("[0.8.0-rc.7] — 2026-04-29", "0.8.0-rc.7"),
        ("From 0.5.x to 0.6", "0.6.0"),
        ("0.1.x → 0.2.x (placeholder)", "0.2.0"),
        ("v1.2.3", "1.2.3"),
        ("Upgrading to 0.6.0 from 0.5.0", "0.6.0"),
        ("Release of 2026-03-09", None),
        ("Values Schema Changes", None),
    ],
)
def test_a_heading_is_about_one_version(heading: str, version: str | None) -> None:
    found = version_in(heading)
    assert (str(found) if found else None) == version


def test_sections_are_told_by_version_with_kind_and_breaking_from_their_headings() -> None:
    found = {str(version): [(str(one), one.breaking) for one in said] for version, said in sections(CHANGELOG).items()}
    assert found == {
        "0.4.0": [
            ("changed: The old key is `gone` and more on a second line. and below it", True),
            ("added: A thing.", False),
        ],
        "0.3.0": [("Only a paragraph over two lines.", False)],
        "0.2.0": [("fixed it", False)],
    }


def test_a_readme_and_a_file_without_versions_are_no_changelog() -> None:
    assert list(from_files({"README.md": CHANGELOG, "NEWS.md": "- hello", "docs/upgrade.md": CHANGELOG})) == [
        "docs/upgrade.md"
    ]


def test_an_endless_changelog_gives_a_bounded_number_of_bounded_entries() -> None:
    found = entries("\n".join(f"- {'x' * 5_000}" for _ in range(5_000)))
    assert (len(found), max(len(one.text) for one in found)) == (200, 1_000)


def test_annotations_mark_prereleases_and_security_updates() -> None:
    assert is_prerelease("0.3.0", {"artifacthub.io/prerelease": "true"})
    assert is_prerelease("0.3.0-rc.1", {})
    assert not is_prerelease("0.3.0", {"artifacthub.io/prerelease": "false"})
    assert has_security_updates({"artifacthub.io/containsSecurityUpdates": "true"})
    assert not has_security_updates({})


# -- release notes behind an address -------------------------------------------------------------------------------


Handler = Callable[[web.Request], Any]


@asynccontextmanager
async def serving(handler: Handler, **more: Any) -> AsyncIterator[ReleaseNotes]:
    app = web.Application()
    app.router.add_get("/notes/{version}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as http:
        yield ReleaseNotes(f"http://127.0.0.1:{port}/notes/{{version}}", http=http, **more)
    await runner.cleanup()


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/markdown", "## Fixed\n- a leak"),
        ("application/json", '{"body": "## Fixed\\n- a leak"}'),
        (
            "text/html",
            "<head><style>- no</style></head><nav>no</nav><h2>Fixed</h2><ul><li>a <b>leak</b></li></ul><script>- no</script>",
        ),
    ],
)
async def test_release_notes_are_read_in_the_forms_of_forges(kind: str, body: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.match_info["version"] == "0.2.1+x"
        return web.Response(text=body, content_type=kind)

    async with serving(answer) as notes:
        text = await notes.of("0.2.1+x")
    assert [(one.kind.value, one.text) for one in entries(text or "")] == [("fixed", "a leak")]


@pytest.mark.parametrize(("status", "error"), [(503, Temporary), (429, Temporary), (403, Permanent)])
async def test_notes_that_cannot_be_read_are_an_error_and_never_silence(status: int, error: type[Exception]) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    async with serving(answer) as notes:
        with pytest.raises(
            error, match=rf"The release notes of 0\.2\.1 could not be read from 127\.0\.0\.1: HTTP {status}"
        ):
            await notes.of("0.2.1")


async def test_no_release_notes_are_an_answer() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=404)

    async with serving(answer) as notes:
        assert await notes.of("0.2.1") is None


async def test_release_notes_are_bounded_in_size_and_time() -> None:
    waiting = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        if request.match_info["version"] == "late":
            await waiting.wait()
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x" * 1_000)
        return response

    async with serving(endless, seconds=0.5, largest=10_000) as notes:
        with pytest.raises(Permanent, match="larger than 10,000 bytes"):
            await notes.of("large")
        with pytest.raises(Temporary, match="no answer in time"):
            await notes.of("late")
        waiting.set()


# -- everything together --------------------------------------------------------------------------------------------


def chart(version: str, **files: str) -> PulledChart:
    return PulledChart(Path("x.tgz"), "0" * 64, {"name": "aeterna", "version": version}, {}, None, files)


def offer(version: str, changes: str = "") -> ChartVersion:
    return ChartVersion(version, annotations={"artifacthub.io/changes": changes})


NOTE = MigrationNote.model_validate(
    {"from": "0.3.0", "to": "0.4.0", "source": "read in the templates", "breaking": ["the old key is gone"]}
)


async def test_every_version_between_is_told_with_its_sources_and_breaking_changes_come_first() -> None:
    found = await collect(
        low="0.2.0",
        high="0.5.0",
        chart=chart("0.5.0", **{"CHANGELOG.md": CHANGELOG}),
        offered=[offer("0.5.0"), offer("0.4.1"), offer("0.4.0", "- 'BREAKING: the old key is gone'"), offer("0.2.0")],
        notes=[NOTE],
        name="aeterna",
    )
    assert found.versions == ("0.3.0", "0.4.0", "0.4.1", "0.5.0")  # 0.3.0 stands in the file alone
    assert {one.source for one in found.told} == {"chart annotations", "CHANGELOG.md in the chart"}
    assert [str(one) for one in found.breaking] == [
        "0.4.0: BREAKING: the old key is gone (chart annotations)",
        "0.4.0: The old key is `gone` and more on a second line. and below it (CHANGELOG.md in the chart)",
        "0.4.0: the old key is gone (migration notes)",
    ]
    assert found.silent == ["0.4.0 → 0.4.1", "0.4.1 → 0.5.0"]
    text = written_out(found)
    assert text.index("BREAKING") < text.index("migration notes (read in the templates)") < text.index("\n0.5.0")
    assert "No notes found for 0.4.0 → 0.4.1." in text
    assert "nobody may see this" not in text


async def test_release_notes_that_are_unreachable_are_said_once_and_name_the_versions() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="- all well") if request.match_info["version"] == "0.4.0" else web.Response(status=500)

    async with serving(answer) as pages:
        found = await collect(
            low="0.3.0",
            high="0.5.0",
            chart=None,
            offered=[offer("0.5.0"), offer("0.4.1"), offer("0.4.0")],
            notes=(),
            name="aeterna",
            pages=pages,
        )
    assert [str(one) for one in found.told] == ["0.4.0: all well (release notes, 127.0.0.1)"]
    (said,) = found.trouble
    assert said == ("The release notes of 0.4.1 could not be read from 127.0.0.1: HTTP 500. Nor could those of 0.5.0.")


async def test_a_secret_in_a_changelog_is_not_shown() -> None:
    found = await collect(
        low="0.1.0",
        high="0.2.0",
        chart=None,
        offered=[offer("0.2.0", "- 'the default password: hunter2hunter2 is gone'")],
        notes=(),
        name="aeterna",
    )
    assert "hunter2" not in written_out(found)
