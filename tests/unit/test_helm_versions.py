"""Versions as people type them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from semver import Version

from bot.errors import UserMistake
from bot.helm.versions import nearest, newest_first, parse_version


@pytest.mark.parametrize("text", ["0.2.1", "v0.2.1", " 0.2.1 ", "0.8.0-rc.4", "1.0.0+build.5"])
def test_a_version_is_read_as_people_type_it(text: str) -> None:
    assert str(parse_version(text)) == text.strip().removeprefix("v")


@pytest.mark.parametrize(
    ("text", "hint"), [("0.2", "0.2.0"), ("2", "2.0.0"), ("latest", "0.2.1"), ("", "0.2.1"), ("0.2.1.4", "0.2.1")]
)
def test_what_is_not_a_version_is_answered_with_an_example(text: str, hint: str) -> None:
    with pytest.raises(UserMistake) as caught:
        parse_version(text)
    assert f"`{hint}`" in caught.value.way_out


@given(st.text(max_size=300).filter(lambda text: not Version.is_valid(text.strip().removeprefix("v"))))
def test_any_other_text_is_a_mistake_that_can_be_shown(text: str) -> None:
    with pytest.raises(UserMistake) as caught:
        parse_version(text)
    assert len(caught.value.message) < 200
    assert caught.value.message.count("`") in {0, 2}


def test_versions_are_ordered_by_meaning_and_not_by_text() -> None:
    versions = ["0.9.0", "0.10.0", "0.10.0-rc.1", "v0.2.0", "nightly"]
    assert newest_first(versions) == ["0.10.0", "0.10.0-rc.1", "0.9.0", "v0.2.0", "nightly"]


def test_the_nearest_versions_come_first() -> None:
    offered = ["0.1.0", "0.2.0", "0.2.1", "1.0.0"]
    assert nearest("0.2.11", offered)[0] == "0.2.1"
    assert nearest("0.2.2", offered, count=2) == ["0.2.1", "0.2.0"]
    assert nearest("0.2.2", []) == []
