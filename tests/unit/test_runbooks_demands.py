"""Why a chart does not take values: which value, which template, what it says, and what a person is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from bot.diff.migrations import MigrationNote
from bot.diff.templates import Templates
from bot.helm.failures import RenderFailed
from runbooks.demands import Given, explained, missing, outside_references, refused


def given(values: dict[str, Any] | None = None, **more: Any) -> Given:
    sources = more.pop("sources", {})
    return Given(values or {}, more.pop("defaults", {}), more.pop("schema", None), Templates(sources), sources)


def failed(cause: str, *, key: str = "", template: str = "a/templates/x.yaml", line: int = 3) -> RenderFailed:
    return RenderFailed("as Helm says it", template=template, line=line, key=key, cause=cause)


@pytest.mark.parametrize(
    ("error", "path"),
    [
        (failed("postgresql.host is required"), "postgresql.host"),
        (failed("mode=central requires central.url"), "central.url"),
        (failed("Please set .Values.audit.sink!"), "audit.sink"),
        (failed("nil pointer evaluating interface {}.enabled", key=".Values.gateway.enabled"), "gateway.enabled"),
        (failed("wrong number of args for upper"), ""),
        (failed("see https://docs.example.org/values.html"), ""),
    ],
)
def test_the_missing_value_is_found_in_what_the_chart_says(error: RenderFailed, path: str) -> None:
    found = missing(error, given({"mode": "central"}))
    assert [one.path for one in found] == ([path] if path else [])


def test_a_value_that_is_set_is_not_the_missing_one() -> None:
    assert missing(failed("postgresql.host is required"), given({"postgresql": {"host": "db"}})) == []


def test_the_template_that_asks_is_named_and_not_the_one_that_includes_it() -> None:
    sources = {"templates/_h.tpl": '{{ define "x" }}{{ required "the sink, please" .Values.audit.sink }}{{ end }}'}
    error = failed("the sink, please", template="aeterna/templates/deployment.yaml")
    told = explained(error, given(sources=sources))
    assert told.message == (
        "The chart does not render: audit.sink is missing; aeterna/templates/_h.tpl says: the sink, please."
    )
    assert [(one.path, one.template) for one in missing(error, given(sources=sources))] == [
        ("audit.sink", "templates/_h.tpl")
    ]


def test_one_dialog_asks_for_everything_that_is_certainly_missing() -> None:
    sources = {
        "templates/a.yaml": '{{ required "redis.host is required" .Values.redis.host }}',
        "templates/b.yaml": '{{ required "postgresql.host is required" .Values.postgresql.host }}',
        "templates/c.yaml": '{{ if .Values.okta.enabled }}{{ required "okta.url" .Values.okta.url }}{{ end }}',
    }
    defaults = {"redis": {"host": ""}, "postgresql": {"host": ""}, "okta": {"enabled": False, "url": ""}}
    found = missing(failed("postgresql.host is required"), given(defaults=defaults, sources=sources))
    assert [one.path for one in found] == ["postgresql.host", "redis.host"]


def test_type_choices_limits_and_default_come_from_the_schema_else_from_the_chart() -> None:
    schema = {
        "properties": {
            "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
            "port": {"$ref": "#/$defs/port"},
            "password": {"type": "string", "minLength": 8, "default": "hunter2"},
        },
        "$defs": {"port": {"type": "integer", "minimum": 1, "maximum": 65535}},
        "required": ["mode", "port", "password"],
    }
    side = given({}, schema=schema)
    error = refused(side, "aeterna")
    assert error is not None
    assert error.message == "The chart's schema refuses the values: the whole needs mode, port, password."
    found = {one.path: one.as_fact() for one in missing(error, side)}
    assert found["mode"]["enum"] == ["a", "b"]
    assert (found["port"]["type"], found["port"]["minimum"], found["port"]["maximum"]) == ("integer", 1, 65535)
    assert (found["password"]["secret"], found["password"]["default"]) == (True, None)
    assert "hunter2" not in repr(missing(error, side))


def test_a_value_of_the_wrong_type_can_be_supplied_too() -> None:
    side = given({"replicas": "three"}, schema={"properties": {"replicas": {"type": "integer"}}})
    error = refused(side, "aeterna")
    assert error is not None
    (one,) = missing(error, side)
    assert (one.path, one.type, one.why) == ("replicas", "integer", "must be integer")


def test_notes_help_where_nothing_else_tells() -> None:
    note = MigrationNote.model_validate(
        {
            "from": "0.5.0",
            "to": "0.6.0",
            "source": "x",
            "new_required": [{"key": "redis.host", "text": "Where Redis is."}],
        }
    )
    (one,) = missing(failed("something is wrong"), given(defaults={"redis": {"host": ""}}), [note])
    assert (one.path, one.why) == ("redis.host", "Where Redis is.")


@pytest.mark.parametrize(
    ("schema", "leads_out"),
    [
        ({"allOf": [{"$ref": "https://example.invalid/s.json"}]}, True),
        ({"properties": {"a": {"items": {"$dynamicRef": "file:///etc/passwd"}}}}, True),
        ({"$ref": "//example.invalid/s"}, True),
        ({"$ref": "../other.json"}, True),
        ({"$ref": "#/$defs/a", "$defs": {"a": {}}}, False),
        (
            {"$id": "https://example.org/s.json", "$ref": "https://example.org/s.json#/$defs/a", "$defs": {"a": {}}},
            False,
        ),
        ({"properties": {"$ref": {"type": "string"}}}, False),
    ],
)
def test_a_schema_that_reaches_outside_is_not_used(schema: dict[str, Any], leads_out: bool) -> None:
    assert bool(list(outside_references(schema))) is leads_out
    error = refused(given(schema=schema), "aeterna")
    assert (error is not None and "is not fetched" in error.message) is leads_out
