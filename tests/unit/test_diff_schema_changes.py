"""Two schemas key by key: what is refused from now on, what is no longer read, and what only looks different."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.diff import schemaview
from bot.diff.schema_changes import compare_schemas

Json = dict[str, Any]


def of(**properties: Any) -> Json:
    return {"type": "object", "properties": properties}


def told(old: Json, new: Json, **defaults: Json) -> list[tuple[str, str, bool]]:
    return [(one.path, one.what, one.breaking) for one in compare_schemas(old, new, **defaults)]


@pytest.mark.parametrize(
    ("old", "new", "what", "breaking", "sentence"),
    [
        ({}, {"type": "string"}, "type", True, "a must be string; it was anything."),
        ({"type": "integer"}, {"type": "number"}, "type", False, "a must be number; it was integer."),
        ({"type": "number"}, {"type": "integer"}, "type", True, "a must be integer; it was number."),
        ({"type": "string"}, {"type": ["null", "string"]}, "type", False, "a must be null or string; it was string."),
        ({"default": 1}, {"default": 2}, "default", False, "The schema's default of a is 2; it was 1."),
        ({"enum": ["x", "y"]}, {"enum": ["x", "z"]}, "enum", True, 'a takes no longer "y"; also "z".'),
        ({"enum": ["x"]}, {"enum": ["y", "x"]}, "enum", False, 'a takes also "y".'),
        ({}, {"const": 1}, "enum", True, "a takes only 1."),
        ({"enum": ["x"]}, {}, "enum", False, "a takes any value now."),
        ({"minimum": 1}, {"minimum": 2}, "limit", True, "a: minimum is 2; it was 1."),
        ({"minimum": 2}, {"minimum": 1}, "limit", False, "a: minimum is 1; it was 2."),
        ({"maximum": 2}, {"maximum": 1}, "limit", True, "a: maximum is 1; it was 2."),
        ({"maxLength": 9}, {}, "limit", False, "a: maxLength is gone; it was 9."),
        ({}, {"pattern": "^a"}, "limit", True, 'a: pattern is "^a".'),
        ({"minItems": 1}, {"minItems": 3}, "limit", True, "a: minItems is 3; it was 1."),
        ({}, {"uniqueItems": True}, "limit", True, "a: uniqueItems is true."),
        ({}, {"deprecated": True}, "deprecated", False, "a is deprecated."),
        ({}, {"additionalProperties": False}, "additional", True, "a takes no keys any more but those that it names."),
        ({"additionalProperties": False}, {}, "additional", False, "a takes any further key."),
        ({}, {"anyOf": [{"required": ["b"]}]}, "condition", True,
         "The condition anyOf on a is another one: judge it by hand."),
        ({"not": {}}, {}, "condition", False, "The condition not on a is gone."),
    ],
)  # fmt: skip
def test_each_rule_that_changes_is_told(old: Json, new: Json, what: str, breaking: bool, sentence: str) -> None:
    (change,) = compare_schemas(of(a=old), of(a=new))
    assert (change.path, change.what, change.breaking, change.sentence) == ("a", what, breaking, sentence)


def test_keys_come_go_and_become_required_at_any_depth() -> None:
    old = of(a=of(gone={"type": "string"}, same={}), list={"type": "array", "items": of(x={"maximum": 5})})
    new = of(
        a={**of(same={}, fresh={"type": "integer", "default": 3}), "required": ["same", "fresh"]},
        list={"type": "array", "items": of(x={"maximum": 4})},
    )
    assert told(old, new) == [
        ("a.fresh", "required", True),
        ("a.gone", "removed", True),
        ("a.same", "required", True),
        ("list[].x", "limit", True),
    ]
    assert told(new, old)[-1] == ("list[].x", "limit", False)
    assert ("a.same", "optional", False) in told(new, old)


def test_a_required_key_that_the_chart_gives_itself_breaks_nothing() -> None:
    (change,) = compare_schemas(of(a={}), {**of(a={}), "required": ["a"]}, old_defaults={"a": 1}, new_defaults={"a": 1})
    assert (change.what, change.breaking) == ("required", False)
    assert change.sentence == "a is required now; the chart gives it by default."


def test_a_key_taken_from_a_closed_object_would_be_refused() -> None:
    closed = {**of(b={}), "additionalProperties": False}
    found = {one.path: one.sentence for one in compare_schemas(of(a={}, b={}), closed)}
    assert found["a"] == "a is gone from the schema and would be refused."


def test_references_within_the_schema_are_followed() -> None:
    def made(most: int, **more: Any) -> Json:
        return {**of(a={"$ref": "#/$defs/port"}, b={"$ref": "#p"}), "$defs": {
            "port": {"$anchor": "p", "type": "integer", "maximum": most, **more}}}  # fmt: skip

    assert told(made(9), made(8)) == [("a", "limit", True), ("b", "limit", True)]
    inline = of(a={"type": "integer", "maximum": 9}, b={"type": "integer", "maximum": 9})
    assert [one for one in told(inline, made(9)) if one[1] != "limit"] == []
    assert schemaview.resolve("#/a~1b/0", {"a/b": [{"x": 1}]}) == {"x": 1}


def test_a_reference_to_the_network_is_told_and_never_followed() -> None:
    far = of(a={"$ref": "https://evil.example/schema.json"}, b={"$ref": "file:///etc/passwd"})
    found = compare_schemas(far, far)
    assert [(one.what, one.path) for one in found] == [("reference", "a"), ("reference", "b")]
    assert "not fetched" in found[0].sentence


def test_all_of_is_laid_together() -> None:
    old = {"allOf": [of(a={"type": "string"}), {"required": ["a"]}]}
    assert told(old, {**of(a={"type": "string"}), "required": ["a"], "type": "object"}) == []


def test_a_schema_that_refers_to_itself_comes_to_an_end() -> None:
    def tree(limit: int) -> Json:
        return {"$ref": "#/$defs/t", "$defs": {"t": of(value={"maximum": limit}, next={"$ref": "#/$defs/t"})}}

    assert told(tree(5), tree(4)) == [("value", "limit", True)]


def test_references_that_fan_out_without_end_are_cut_and_say_so() -> None:
    names = [f"d{number}" for number in range(30)]
    bomb: Json = {
        "$defs": {one: of(l={"$ref": f"#/$defs/{two}"}, r={"$ref": f"#/$defs/{two}"}) for one, two in pairwise(names)},
        "$ref": "#/$defs/d0",
    }
    bomb["$defs"]["d29"] = {"type": "string"}
    other = {**bomb, "$defs": {**bomb["$defs"], "d29": {"type": "integer"}}}
    assert compare_schemas(bomb, other)[0].what == "cut"
    fan = {"allOf": [{"$ref": "#"}, {"$ref": "#"}], "type": "object"}
    assert told(fan, fan) == []


def test_defaults_are_compared_where_the_schema_stayed_the_same() -> None:
    schema = of(replicas={"type": "integer"})
    found = compare_schemas(
        schema,
        schema,
        old_defaults={"replicas": 1, "tls": False, "gone": {"a": 1}, "image": "a", "adminToken": "one"},
        new_defaults={"replicas": 3, "tls": {"on": False}, "image": "a", "fresh": True, "adminToken": "two"},
    )
    assert [(one.path, one.what, one.breaking, one.source) for one in found] == [
        ("gone.a", "removed", True, "values"),
        ("tls", "type", True, "values"),
        ("adminToken", "default", False, "values"),
        ("fresh", "added", False, "values"),
        ("replicas", "default", False, "values"),
    ]
    assert found[4].sentence == "replicas is 3 by default; it was 1."
    assert found[2].sentence == "adminToken is [redacted] by default; it was [redacted]."
    assert "two" not in repr(found)


def test_a_key_that_schema_and_values_both_bring_is_told_once() -> None:
    found = compare_schemas(of(), of(a=of(b={})), old_defaults={}, new_defaults={"a": {"b": 1}})
    assert [(one.path, one.source) for one in found] == [("a", "schema")]


def test_a_schema_that_comes_or_goes_as_a_whole_is_said() -> None:
    assert [one.what for one in compare_schemas(None, of())] == ["added"]
    assert [one.what for one in compare_schemas(of(), None)] == ["removed"]
    assert compare_schemas(None, None) == []


keys = st.sampled_from("abc")
leaves = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "integer"]) | st.lists(st.sampled_from(["string", "null"]), unique=True),
        "minimum": st.integers(0, 3),
        "enum": st.lists(st.integers(0, 3), unique=True),
        "default": st.integers(),
        "$ref": st.sampled_from(["#/$defs/x", "#", "#/nowhere"]),
    },
)
schemas = st.recursive(
    leaves | st.booleans(),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(keys, inner, max_size=3),
            "required": st.lists(keys, unique=True),
            "items": inner,
            "additionalProperties": inner,
            "allOf": st.lists(inner, max_size=2),
        },
    ),
    max_leaves=8,
).filter(lambda found: isinstance(found, dict))


def backwards(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: backwards(below) for key, below in reversed(value.items())}
    return [backwards(below) for below in value] if isinstance(value, list) else value


@given(schemas)
def test_property_a_schema_against_itself_gives_nothing_but_what_it_could_not_follow(schema: Json) -> None:
    whole = {**schema, "$defs": {"x": {"type": "string"}}}
    assert {one.what for one in compare_schemas(whole, backwards(whole))} <= {"reference"}


@given(schemas, schemas)
def test_property_the_order_of_keys_changes_nothing(old: Json, new: Json) -> None:
    assert compare_schemas(old, new) == compare_schemas(backwards(old), backwards(new))
