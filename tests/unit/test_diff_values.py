"""Values laid over each other, compared, digested, and checked against a schema, without a secret in any text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.diff import schema, values
from bot.diff.values import ABSENT

leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
nested = st.recursive(leaves, lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=3))
trees = st.dictionaries(st.text(min_size=1, max_size=3), nested, max_size=4)


def test_mappings_merge_and_everything_else_replaces() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert values.overlay(base, {"a": {"c": [3]}, "d": {"e": None}}) == {"a": {"b": 1, "c": [3]}, "d": {"e": None}}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 1}


def test_a_null_removes_a_default() -> None:
    assert values.computed({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}) == {"a": {"c": 2}}


def test_changes_name_each_leaf_and_tell_a_null_from_nothing() -> None:
    found = values.compare({"a": {"b": 1}, "x": None, "n": 1}, {"a": {"b": 2, "c": {"d": 3}}, "n": True})
    assert [(one.dotted, one.old, one.new) for one in found] == [
        ("a.b", 1, 2),
        ("a.c.d", ABSENT, 3),
        ("n", 1, True),
        ("x", None, ABSENT),
    ]


@given(trees)
def test_equal_values_do_not_differ_and_have_one_digest(tree: dict[str, Any]) -> None:
    assert values.compare(tree, tree) == []
    assert values.overlay(tree, tree) == tree
    assert values.digest(dict(reversed(tree.items()))) == values.digest(tree)


@given(trees, trees)
def test_the_digest_differs_where_the_values_do(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (values.digest(one) == values.digest(other)) == (not values.compare(one, other) and one == other)


def test_unknown_keys_are_those_that_the_chart_does_not_offer() -> None:
    defaults = {"server": {"image": {"tag": ""}, "annotations": {}, "extra": None}, "list": []}
    user = {
        "server": {"imge": 1, "image": {"tags": 1}, "annotations": {"free": 1}, "extra": {"free": 1}},
        "list": [1],
        "global": {"x": 1},
        "old.key": {"a": 1},
    }
    assert [values.dotted(path) for path in values.unknown_keys(user, defaults)] == [
        "server.imge",
        "server.image.tags",
        '"old.key"',
    ]


def test_a_lookup_tells_null_from_nothing() -> None:
    assert values.lookup({"a": {"b": None}}, ["a", "b"]) is None
    assert values.lookup({"a": 1}, ["a", "b"]) is ABSENT


def test_values_do_not_stand_in_the_repr_of_a_change() -> None:
    (change,) = values.compare({"password": "old-one"}, {"password": "new-one"})
    assert "one" not in repr(change)


@pytest.mark.parametrize(
    ("rule", "value", "said"),
    [
        ({"type": "integer"}, "s3cret", "must be integer"),
        ({"enum": ["a", "b"]}, "s3cret", "must be one of a, b"),
        ({"type": "object", "required": ["x"]}, {"y": "s3cret"}, "needs x"),
        (
            {"type": "object", "additionalProperties": False},
            {"y": "s3cret"},
            "has keys that the chart does not know: y",
        ),
        ({"minimum": 3}, 1, "breaks the rule minimum: 3"),
        ({"pattern": "^a"}, "s3cret", "breaks the rule pattern: ^a"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "s3cret", "does not fit the schema's anyOf"),
    ],
)
def test_a_schema_problem_names_field_and_rule_but_never_the_value(rule: Any, value: Any, said: str) -> None:
    (problem,) = schema.problems({"a": {"k": value}}, {"properties": {"a": {"properties": {"k": rule}}}})
    assert (problem.field, problem.text) == ("a.k", said)
    assert "s3cret" not in problem.text


@pytest.mark.parametrize(
    "bad", [{"$ref": "https://example.invalid/schema.json"}, {"$ref": "#/gone"}, {"type": "nonsense"}]
)
def test_a_schema_that_reaches_out_or_is_broken_is_one_problem_and_fetches_nothing(bad: dict[str, Any]) -> None:
    (problem,) = schema.problems({"a": 1}, {"properties": {"a": bad}} if "$ref" in bad else bad)
    assert problem.field == ""
