"""Command lines as people type them, on phones too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import UserMistake
from bot.slack import limits
from handlers.parsing import CommandLine, nearest, parse

WORDS = ("status", "upgrade", "rollback", "verify", "runs", "run", "help", "history", "versions")


def test_an_empty_command_asks_for_help() -> None:
    assert parse("  ").word == "help"


@pytest.mark.parametrize("dash", ["--", "—", "–", "―", "-", "−-"])
def test_every_dash_that_a_phone_makes_is_an_option(dash: str) -> None:
    line = parse(f"upgrade 0.2.1 {dash}target staging")
    assert (line.word, line.arguments, line.target) == ("upgrade", ("0.2.1",), "staging")


@pytest.mark.parametrize("text", ["“a b”", "„a b“", '"a b"', "«a b»", "‘a b’", "'a b'"])
def test_every_quote_that_a_phone_makes_is_a_quote(text: str) -> None:
    assert parse(f"upgrade —note {text}").options == {"note": "a b"}


def test_an_equals_sign_and_capitals_are_fine() -> None:
    assert parse("Upgrade 0.2.1 --TARGET=prod") == CommandLine("upgrade", ("0.2.1",), {}, "prod", "0.2.1 --TARGET=prod")


def test_slacks_entities_are_read_as_what_was_typed() -> None:
    assert parse("reject r-1 a &lt; b &amp; c").rest == "r-1 a < b & c"


def test_an_apostrophe_in_a_sentence_is_no_quote() -> None:
    line = parse("reject r-1 I don't like it")
    assert line.rest == "r-1 I don't like it"
    assert line.arguments[:3] == ("r-1", "I", "don't")


def test_a_dash_inside_a_word_and_a_minus_number_stay() -> None:
    assert parse("upgrade 0.2.1-rc.1 -5").arguments == ("0.2.1-rc.1", "-5")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('upgrade "0.2.1', "not closed"),
        ("upgrade 0.2.1 --target", "needs a value"),
        ("upgrade --target --at x", "needs a value"),
        ("upgrade --target a --target b", "twice"),
    ],
)
def test_a_wrong_form_is_named(text: str, part: str) -> None:
    with pytest.raises(UserMistake) as caught:
        parse(text)
    assert part in caught.value.message
    assert caught.value.way_out


def test_ten_thousand_characters_are_refused_with_the_numbers() -> None:
    with pytest.raises(UserMistake, match=r"10,000 characters; I read at most 1,000"):
        parse("x" * 10_000)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("upgarde", "upgrade"), ("stat", "status"), ("rolback", "rollback"), ("hlep", "help"), ("qqq", None)],
)
def test_the_nearest_word_is_suggested_only_when_it_is_near(typed: str, meant: str | None) -> None:
    assert nearest(typed, WORDS) == meant


@given(st.text(max_size=limits.COMMAND + 1))
def test_any_text_is_read_or_refused_as_a_mistake(text: str) -> None:
    try:
        line = parse(text)
    except UserMistake:
        return
    assert line.word == line.word.lower() != ""
