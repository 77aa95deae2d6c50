"""The user's values against the next chart: what is no longer read and where it went, what is needed, what has a wrong type."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.diff.renames import needed, unread, wrong_types
from bot.diff.templates import Templates, holds
from bot.diff.values import dotted

Json = dict[str, Any]

# The charts 0.5.0 and 0.6.0 of Aeterna, as far as their values on databases go.
OLD: Json = {
    "postgresql": {
        "bundled": True,
        "external": {
            "host": "", "port": 5432, "database": "aeterna", "username": "aeterna", "existingSecret": "",
            "secretKey": "postgres-password", "sslMode": "require",
        },
    },
    "cache": {"external": {"enabled": False, "host": "", "port": 6379, "existingSecret": "", "secretKey": ""}},
    "vectorBackend": {"type": "qdrant", "qdrant": {"bundled": True, "external": {"host": "", "port": 6333}}},
    "aeterna": {"replicaCount": 1},
}  # fmt: skip
NEW: Json = {
    "postgresql": {
        "host": "", "port": 5432, "database": "aeterna", "username": "aeterna", "existingSecret": "",
        "passwordKey": "password", "sslMode": "require",
    },
    "redis": {"host": "", "port": 6379, "existingSecret": "", "passwordKey": "password", "tls": False},
    "vectorStore": {"type": "qdrant", "host": "", "port": 6333, "existingSecret": ""},
    "aeterna": {"replicaCount": 1},
}  # fmt: skip


def found(user: Json, **more: Any) -> dict[str, tuple[str, str]]:
    return {dotted(one.path): (one.likely, one.sure) for one in unread(user, OLD, NEW, **more)}


def test_keys_that_moved_between_two_real_charts_are_found_by_name_default_and_neighbours() -> None:
    user = {
        "postgresql": {"external": {"host": "db", "port": 5433, "database": "d", "sslMode": "verify-full"}},
        "cache": {"external": {"host": "r", "port": 6380}},
        "vectorBackend": {"qdrant": {"external": {"host": "q", "port": 1}}},
        "aeterna": {"replicaCount": 2},
    }
    likely = {path: new for path, (new, _) in found(user).items()}
    assert likely == {
        "postgresql.external.host": "postgresql.host",
        "postgresql.external.port": "postgresql.port",
        "postgresql.external.database": "postgresql.database",
        "postgresql.external.sslMode": "postgresql.sslMode",
        "cache.external.host": "redis.host",
        "cache.external.port": "redis.port",
        "vectorBackend.qdrant.external.host": "vectorStore.host",
        "vectorBackend.qdrant.external.port": "vectorStore.port",
    }


def test_what_has_no_successor_is_removed() -> None:
    (one,) = unread({"postgresql": {"bundled": False}}, OLD, NEW)
    assert (one.likely, one.sure, one.known_before) == ("", "", True)
    assert one.sentence == (
        "postgresql.bundled is set, and the new chart no longer reads it; nothing in it looks like its successor."
    )


def test_a_migration_note_knows_better() -> None:
    user = {"cache": {"external": {"secretKey": "k"}}}
    assert found(user, noted={"cache.external.secretKey": "redis.passwordKey"}) == {
        "cache.external.secretKey": ("redis.passwordKey", "noted")
    }
    assert found(user, noted={"cache.external": "redis"})["cache.external.secretKey"][0] == "redis.secretKey"


def test_a_line_of_the_changelog_that_names_both_makes_it_likely() -> None:
    user = {"cache": {"external": {"secretKey": "k"}}}
    notes = "* `cache.external.secretKey` is now `redis.passwordKey`\n* cache.external.secretKeyX moved to redis.tls"
    assert found(user, notes=notes)["cache.external.secretKey"] == ("redis.passwordKey", "likely")
    (one,) = unread(user, OLD, NEW, notes=notes)
    assert one.sentence.endswith("; it is probably now redis.passwordKey.")


def test_a_key_that_never_was_is_not_called_removed() -> None:
    (one,) = unread({"aeterna": {"replicaCuont": 1}}, OLD, NEW)
    assert not one.known_before
    assert one.sentence == "aeterna.replicaCuont is set, and neither the old chart nor the new one names it."


def test_the_values_of_the_user_stand_in_no_sentence() -> None:
    user = {"cache": {"external": {"secretKey": "hunter2"}}, "postgresql": {"external": {"host": "hunter2"}}}
    assert "hunter2" not in "".join(one.sentence + repr(one) for one in unread(user, OLD, NEW))


def test_a_key_that_the_schema_or_a_template_knows_is_read() -> None:
    user = {"postgresql": {"extra": 1}}
    schema = {"properties": {"postgresql": {"$ref": "#/$defs/pg"}}, "$defs": {"pg": {"properties": {"extra": {}}}}}
    assert found(user, new_schema=schema) == {}
    assert found(user, templates=Templates({"templates/a": "{{ .Values.postgresql.extra }}"})) == {}
    # A schema that still lists a key which no template reads is out of date, as Aeterna's was.
    assert found(user, new_schema=schema, templates=Templates({"templates/a": "{{ .Values.redis.host }}"})) != {}


@pytest.mark.parametrize(
    ("text", "path", "read"),
    [
        ("{{ .Values.a.b }}", "a.b", True),
        ("{{ $.Values.a.b.c }}", "a.b", True),
        ("{{ .Values.a | toYaml | indent 2 }}", "a.b.c", True),
        ("{{- range $k, $v := .Values.a }}", "a.b", True),
        ("{{ with .Values.a }}{{ .b }}{{ end }}", "a.b", True),
        ("{{ with .Values.a }}{{ .c }}{{ end }}", "a.b", False),
        ("{{ with .Values.a }}{{ if .x }}{{ end }}{{ toYaml . }}{{ end }}", "a.b", True),
        ("{{ with .Values.a }}{{ end }}{{ toYaml . }}", "a.b", False),
        ("{{ $x := .Values.a }}{{ toYaml $x }}", "a.b.c", True),
        ("{{ $x := .Values.a }}{{ $x.b }}{{ $xy.c }}", "a.b", True),
        ("{{ $x := .Values.a }}{{ $x.b }}{{ $xy.c }}", "a.d", False),
        ('{{ index .Values.a "x-y" }}', "a.x-y", True),
        ('{{ dig "b" "c" "default" .Values.a }}', "a.b", True),
        ("{{/* .Values.a.b */}}", "a.b", False),
        ("{{ .Values.abc }}", "a", False),
        ("{{ .Values | toYaml | sha256sum }}", "a", False),
    ],
)
def test_what_a_template_reads(text: str, path: str, read: bool) -> None:
    assert Templates({"templates/x.yaml": text}).reads(tuple(path.split("."))) is read


def test_a_subcharts_templates_read_below_its_name() -> None:
    made = Templates({"charts/qdrant/templates/x": "{{ .Values.port }}{{ .Values.global.image }}"})
    assert made.reads(("qdrant", "port"))
    assert made.reads(("global", "image"))
    assert not made.reads(("port",))


HELPERS = """
{{- if not .Values.postgresql.host }}{{ fail "postgresql.host is required" }}{{ end }}
{{- if and (eq .Values.vectorStore.type "qdrant") (not .Values.vectorStore.host) }}
{{- fail (printf "vectorStore.host is required when type is %s" .Values.vectorStore.type) }}
{{- end }}
{{- if eq .Values.vectorStore.type "other" }}{{ required "no" .Values.vectorStore.existingSecret }}{{ end }}
{{- if .Values.redis.tls }}a{{ else }}{{ required "redis.host is required" .Values.redis.host }}{{ end }}
{{- if (include "x" .) }}{{ .Values.redis.existingSecret | required "a Secret" }}{{ end }}
"""


def test_every_demand_of_the_templates_is_found_at_once() -> None:
    asked = needed({}, NEW, templates=Templates({"templates/_helpers.tpl": HELPERS}))
    assert [(dotted(one.path), one.source, one.certain) for one in asked] == [
        ("postgresql.host", "fail", True),
        ("redis.host", "required", True),
        ("vectorStore.host", "fail", True),
        ("redis.existingSecret", "required", False),
    ]
    assert asked[1].sentence == "redis.host is needed now (templates/_helpers.tpl: redis.host is required)."


def test_what_is_given_or_not_asked_for_is_not_needed() -> None:
    user = {
        "postgresql": {"host": "db"},
        "vectorStore": {"type": "pgvector"},
        "redis": {"tls": True, "existingSecret": "s"},
    }
    assert needed(user, NEW, templates=Templates({"templates/_helpers.tpl": HELPERS})) == []


def test_an_uncertain_demand_that_the_old_chart_made_too_is_not_new() -> None:
    templates = Templates({"templates/_helpers.tpl": HELPERS})
    asked = needed({}, NEW, templates=templates, old_templates=templates)
    assert [dotted(one.path) for one in asked] == ["postgresql.host", "redis.host", "vectorStore.host"]


def test_what_the_schema_requires_is_needed_unless_the_chart_gives_it() -> None:
    schema = {
        "required": ["a", "b"],
        "properties": {"a": {}, "b": {"$ref": "#/$defs/b"}, "c": {"required": ["x"]}},
        "$defs": {"b": {"required": ["x"], "properties": {"x": {}}}},
    }
    asked = needed({"b": {}}, {"a": 1}, new_schema=schema)
    assert [(dotted(one.path), one.source) for one in asked] == [("b.x", "schema")]


def test_a_fail_without_a_named_value_is_told_where_its_conditions_hold() -> None:
    text = "{{ if and .Values.a .Values.b }}{{ fail `both are on` }}{{ else }}{{ fail `not so` }}{{ end }}"
    (one,) = needed({"a": True, "b": 1}, {}, templates=Templates({"templates/x": text}))
    assert (one.path, one.message, one.certain) == ((), "both are on", True)
    assert one.sentence == "A value is needed now (templates/x: both are on)."


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (".Values.on", True),
        ("not .Values.on", False),
        ('and .Values.on (eq .Values.kind "x" "y")', True),
        ('or (ne .Values.kind "y") .Values.off', False),
        ('eq (default "z" .Values.none) "z"', True),
        ('has .Values.kind (list "x" "y")', True),
        ("empty .Values.none.deep", True),
        ("eq .Values.port 80", True),
        ('include "x" .', None),
        (".Values.on | default true", None),
        ("$x := .Values.on", None),
        ("", None),
        ("not", None),
        ("(", None),
        ("has .Values.kind .Values.port", None),
        ("(" * 5000, None),
        ("and (.Values.on", None),
    ],
)
def test_simple_conditions_are_worked_out_and_others_are_not_guessed(condition: str, expected: bool | None) -> None:
    assert holds(condition, {"on": True, "off": False, "kind": "y", "port": 80}) is expected


@given(st.text(alphabet='()"| .$Vandoreqlisth1 ', max_size=40))
def test_property_no_condition_raises(condition: str) -> None:
    assert holds(condition, {"a": 1}) in (True, False, None)


def test_types_are_checked_against_the_schema_and_else_against_the_defaults() -> None:
    defaults: Json = {"a": {"port": 80, "name": "x", "list": [], "on": True, "map": {}, "none": None, "free": "x"}}
    schema = {
        "properties": {"a": {"properties": {"free": {"type": ["string", "integer"]}, "port": {"type": "integer"}}}}
    }
    user = {"a": {"port": "8080", "name": {"x": 1}, "list": None, "on": "yes", "map": {"k": 1}, "none": 1, "free": 3}}
    assert [
        (dotted(one.path), one.given, one.wanted, one.source) for one in wrong_types(user, defaults, new_schema=schema)
    ] == [
        ("a.port", "string", "integer", "schema"),
        ("a.name", "object", "string", "default"),
        ("a.on", "string", "boolean", "default"),
    ]
    assert wrong_types({"a": {"port": 1.5}}, defaults, new_schema=schema)[0].sentence == (
        "a.port is of type number; the chart's schema wants integer."
    )
    assert wrong_types({"a": "text"}, defaults)[0].sentence == "a is of type string; the chart's own default is object."


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab", max_size=2),
    lambda inner: st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=6,
)
maps = st.dictionaries(st.sampled_from(["a", "b", "c"]), trees, max_size=3)


@given(maps, maps)
def test_property_a_chart_reads_its_own_defaults_and_finds_them_well_typed(values: Json, old: Json) -> None:
    assert unread(values, old, values) == []
    assert wrong_types(values, values) == []


@given(maps, maps, maps)
def test_property_the_order_of_keys_changes_nothing(user: Json, old: Json, new: Json) -> None:
    def backwards(value: Any) -> Any:
        return {key: backwards(below) for key, below in reversed(value.items())} if isinstance(value, dict) else value

    straight = {one.path: one for one in unread(user, old, new)}
    assert straight == {one.path: one for one in unread(backwards(user), backwards(old), backwards(new))}
