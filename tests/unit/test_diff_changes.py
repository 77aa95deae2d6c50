"""Changelogs, migration notes and the manifest's digest: what counts, and in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.diff import manifests
from bot.diff.changelog import most_urgent_first, parse_changes, versions_between
from bot.diff.migrations import crossed, load_notes
from bot.errors import UserMistake
from bot.kube.objects import ref_of
from runbooks.registry import MIGRATIONS


def test_changes_are_read_in_both_of_artifact_hubs_forms() -> None:
    entries = parse_changes('- plain text\n- {kind: fixed, description: "one\\n two"}\n- {kind: odd, description: x}\n')
    assert [str(entry) for entry in entries] == ["plain text", "fixed: one two", "x"]
    assert parse_changes("") == []


def test_breaking_changes_come_first() -> None:
    entries = parse_changes("- {kind: fixed, description: a}\n- {kind: removed, description: b}\n- 'BREAKING: c'\n")
    assert [entry.text for entry in most_urgent_first(entries)] == ["BREAKING: c", "b", "a"]


@pytest.mark.parametrize("text", ["a: b", "just text", "- [", "- &a x\n- *a", "x" * 300_000])
def test_an_unreadable_changelog_is_never_taken_for_an_empty_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|uses) "):
        parse_changes(text)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        ("0.1.0", "0.2.1", ["0.2.0", "v0.2.1"]),
        ("0.2.0", "0.3.0-rc.2", ["v0.2.1", "0.3.0-rc.1", "0.3.0-rc.2"]),
        ("0.2.1", "0.1.0", []),
        ("what", "0.2.0", []),
    ],
)
def test_versions_between_are_those_that_are_crossed(low: str, high: str, expected: list[str]) -> None:
    offered = ["0.3.0-rc.2", "0.3.0-rc.1", "v0.2.1", "0.2.0", "0.1.0", "latest"]
    assert versions_between(offered, low, high) == expected


def test_the_shipped_notes_are_in_order_and_count_for_every_upgrade_that_crosses_them() -> None:
    notes = load_notes(MIGRATIONS)
    assert [note.to for note in notes] == [
        "0.2.0",
        "0.3.0",
        "0.4.0",
        "0.6.0",
        "0.8.0-rc.3",
        "0.8.0-rc.4",
        "0.8.0-rc.8",
    ]
    chain = crossed(reversed(notes), chart="aeterna", low="0.2.0", high="0.6.0")
    assert [note.named for note in chain] == ["0.2.1 → 0.3.0", "0.2.0 → 0.4.0", "0.5.0 → 0.6.0"]
    assert crossed(notes, chart="aeterna", low="0.2.0", high="0.2.1") == []
    assert crossed(notes, chart="another", low="0.1.0", high="0.6.0") == []


def test_a_note_that_is_not_in_order_is_named_with_file_line_and_field(tmp_path: Path) -> None:
    (tmp_path / "n.yaml").write_text('from: 0.1.0\nto: "0.2"\nsource: x\nbraking: []\n', encoding="utf-8")
    with pytest.raises(UserMistake) as raised:
        load_notes(tmp_path)
    assert f"{tmp_path / 'n.yaml'}:2: to: '0.2' is not a version" in raised.value.message
    assert f"{tmp_path / 'n.yaml'}:4: braking: unknown key" in raised.value.message


def _object(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **more}


def test_what_is_bound_minds_neither_order_nor_what_is_drawn_but_everything_else() -> None:
    secret = _object("Secret", "s", data={"k": "1", "fixed": "1"})
    other = _object("Secret", "s", data={"k": "2", "fixed": "1"})
    config = _object("ConfigMap", "a", data={"k": "1"})
    drawn = {ref_of(secret): frozenset([("data", "k")])}
    assert manifests.steady([secret, config], drawn) == manifests.steady([config, other], drawn)
    assert manifests.steady([secret], {}) != manifests.steady([other], {})
    assert manifests.steady([secret], None) == manifests.steady([other], None), "nobody knows, so no Secret counts"
    assert manifests.steady([config], {}) != manifests.steady([_object("ConfigMap", "a", data={"k": "2"})], {})
    changed = _object("Secret", "s", data={"k": "1", "fixed": "2"})
    assert manifests.steady([secret], drawn) != manifests.steady([changed], drawn)
