"""Missing values as fields of a dialog and back: types, limits, and no secret in either direction."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.slack.modal import dialog
from bot.slack.render import Page
from dev.slack.blocks import view_problems
from handlers.supplying import MOST, NOT_TAKEN, Missing, fields, missing_values, read


def one(type_: str = "string", **more: Any) -> Missing:
    return Missing.of({"path": "a.b", "type": type_, "why": "Because.", **more})


GOOD: list[tuple[Missing, str, Any]] = [
    (one(), "  x y ", "x y"),
    (one("integer"), "-3", -3),
    (one("integer", minimum=0, maximum=5), "5", 5),
    (one("number"), "1e3", 1000.0),
    (one("number"), "7", 7),
    (one("boolean"), "0", True),
    (one("boolean"), "1", False),
    (one(enum=["x", 2, None]), "1", 2),
    (one(enum=[f"v{n}" for n in range(200)]), "v150", "v150"),
    (one("object"), "a: {b: [1, two]}", {"a": {"b": [1, "two"]}}),
    (one("array"), "- 1\n- x", [1, "x"]),
    (one("object"), "existingSecret: opal", {"existingSecret": "opal"}),
]


@pytest.mark.parametrize(("missing", "text", "value"), GOOD)
def test_what_is_given_becomes_a_value_of_its_type(missing: Missing, text: str, value: Any) -> None:
    assert read([missing], {"value-0": text}) == ({"a.b": value}, {})


WRONG: list[tuple[Missing, str, str]] = [
    (one(), "   ", "A value is needed"),
    (one("integer"), "3.5", "not a whole number"),
    (one("integer", minimum=1), "0", "smallest that the chart takes is 1"),
    (one("number", maximum=2.5), "2.6", "largest that the chart takes is 2.5"),
    (one("number"), "nan", "not a number"),
    (one("number"), "many", "not a number"),
    (one("boolean"), "2", "none of the choices"),
    (one(enum=["x"]), "x", "none of the choices"),
    (one(enum=[f"v{n}" for n in range(200)]), "v200", "none of the 200"),
    (one("object"), "- a", "no set of keys"),
    (one("array"), "a: b", "no list"),
    (one("object"), "a: 1\na: 2", "written twice"),
    (one("object"), "a: &x [1]\nb: *x", "aliases"),
    (one("object"), "a: [", "not valid YAML"),
    (one("array"), "- 2026-01-02", "go into quotes"),
    (one("array"), "- .nan", "go into quotes"),
    (one("array"), "[" * 2900, ""),
    (one(), "xoxb-1234567890-abcdef", NOT_TAKEN),
    (one(), "postgres://user:hunter22@db/x", NOT_TAKEN),
    (one(), "-----BEGIN PRIVATE KEY-----\nMII", NOT_TAKEN),
    (one("object"), "db: {password: hunter22}", NOT_TAKEN),
    (one("array"), "- eyJhbGciOiJIUzI1.eyJzdWIiOiIx.c2ln", NOT_TAKEN),
]


@pytest.mark.parametrize(("missing", "text", "why"), WRONG)
def test_what_cannot_be_taken_says_why(missing: Missing, text: str, why: str) -> None:
    _, problems = read([missing], {"value-0": text})
    assert why in problems["value-0"]
    assert text.strip() == "" or len(text) < 5 or text not in problems["value-0"]


@pytest.mark.parametrize("told", [{"path": "db.password"}, {"path": "x", "secret": True}])
def test_where_a_secret_is_wanted_only_a_secrets_name_and_key_are_taken(told: dict[str, Any]) -> None:
    missing = [Missing.of({**told, "reference": {"name": "db.existingSecret", "key": "db.secretKey"}})]
    assert [field.id for field in fields(missing)] == ["value-0", "value-0-key"]
    value, problems = read(missing, {"value-0": "db-credentials", "value-0-key": "password"})
    assert (value, problems) == ({"db.existingSecret": "db-credentials", "db.secretKey": "password"}, {})
    _, problems = read(missing, {"value-0": "Hunter22!", "value-0-key": "sk-abcdefghijklmnopqrstuvwx"})
    assert problems == {"value-0": NOT_TAKEN, "value-0-key": NOT_TAKEN}


def test_a_chart_with_a_fixed_key_is_asked_for_the_secrets_name_alone() -> None:
    missing = [Missing.of({"path": "db.password", "reference": {"name": "db.existingSecret", "key": ""}})]
    assert [field.id for field in fields(missing)] == ["value-0"]
    assert read(missing, {"value-0": "db-credentials"}) == ({"db.existingSecret": "db-credentials"}, {})


def test_a_secret_for_which_the_chart_takes_no_secrets_name_is_never_asked_for() -> None:
    missing = [Missing.of({"path": "db.password"}), one()]
    assert [field.id for field in fields(missing)] == ["value-1"]
    values, problems = read(missing, {"value-0": "hunter22hunter22", "value-1": "x"})
    assert (len(values), problems) == (1, {})
    assert "hunter22" not in str(values)


def test_a_default_is_filled_in_unless_it_is_a_secret() -> None:
    assert [field.initial for field in fields([one(default="x"), one("array", default=[1])])] == ["x", "[1]"]
    assert fields([one(default="https://u:hunter22@host")])[0].initial is None
    assert fields([one(enum=["a", "b"], default="b")])[0].block()["element"]["initial_option"]["value"] == "1"


def test_at_most_as_many_as_a_dialog_takes_are_asked_for() -> None:
    facts = {"missing_values": [{"path": f"a.n{n}"} for n in range(MOST + 5)]}
    assert len(missing_values(facts)) == MOST


TOLD = st.fixed_dictionaries(
    {"path": st.text(min_size=1, max_size=300)},
    optional={
        "type": st.sampled_from(["string", "integer", "number", "boolean", "object", "array", "odd"]),
        "why": st.text(max_size=3000),
        "template": st.text(max_size=300),
        "enum": st.lists(st.one_of(st.text(max_size=100), st.integers(), st.none()), max_size=120),
        "default": st.one_of(st.none(), st.text(max_size=4000), st.integers(), st.booleans(), st.lists(st.integers())),
        "secret": st.booleans(),
        "minimum": st.one_of(st.none(), st.integers(-(10**9), 10**9), st.floats(-1e9, 1e9)),
    },
)


@given(st.lists(TOLD, max_size=40), st.text(max_size=3000))
def test_slack_takes_every_dialog_and_any_text_is_read_or_refused(told: list[dict[str, Any]], text: str) -> None:
    missing = missing_values({"missing_values": told})
    page = Page()
    page.section(text)
    asked = fields(missing)
    view = dialog(page, asked, callback="supply", title="Supply values", submit="Plan again", ids="{}")
    assert view_problems(view) == []
    values, problems = read(missing, {field.id: text for field in asked})
    json.dumps(values, allow_nan=False)
    assert set(problems) <= {field.id for field in asked}
