"""YAML as Helm reads it, and YAML that means harm."""

from __future__ import annotations

import pytest

from bot.errors import Permanent
from bot.helm.rendering import from_template, objects_from, parse_objects
from bot.helm.yamldocs import load_mapping, load_yaml


def test_scalars_are_read_as_helm_reads_them() -> None:
    """The expected values are what Helm 4.3.1 printed for this text with ``toJson``."""
    text = "x: 1\nm: 22:22\nd: 2024-01-01\ne: 1e3\no: 0644\nyy: y\nyes: yes\n"
    expected = {"x": 1, "m": "22:22", "d": "2024-01-01", "e": 1000, "o": 420, "yy": True, "true": True}
    assert load_mapping(text, what="it") == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-1", -1),
        ("0x1F", 31),
        ("1.5", 1.5),
        (".5", 0.5),
        ("0", 0),
        ("08", 8),
        ("0o17", 15),
        ("oN", "oN"),
        ("190:20:30", "190:20:30"),
        ("1_000", 1000),
        ("~", None),
    ],
)
def test_numbers(text: str, value: object) -> None:
    assert load_yaml(text, what="it") == value


def test_a_key_that_stands_twice_is_refused_where_helm_refuses_it() -> None:
    with pytest.raises(Permanent, match=r"line 2, column 1: the key 'a' stands twice"):
        load_mapping("a: 1\na: 2\n", what="it", unique_keys=True)
    assert load_mapping("a: 1\na: 2\n", what="it") == {"a": 2}


def test_aliases_that_blow_a_document_up_are_refused() -> None:
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 10))
    with pytest.raises(Permanent, match="unfolds to more than"):
        load_yaml(f"l0: &l0 [x]\n{levels}\n", what="it")


def test_merge_keys_that_blow_a_document_up_are_refused() -> None:
    levels = "\n".join(f"l{n}: &l{n} {{<<: [{', '.join([f'*l{n - 1}'] * 10)}]}}" for n in range(1, 10))
    with pytest.raises(Permanent, match="merge keys"):
        load_yaml(f"l0: &l0 {{a: 1}}\n{levels}\n", what="it")


@pytest.mark.parametrize(
    "text", ["&a [*a]", "[" * 5000, "a: b: c", "!!python/object/apply:os.getcwd []", "\x00", "a: *b"]
)
def test_what_is_not_plain_yaml_is_refused_in_one_way(text: str) -> None:
    with pytest.raises(Permanent, match=r"^it "):
        load_yaml(text, what="it")


def test_a_document_of_another_shape_is_refused() -> None:
    with pytest.raises(Permanent, match="a list, not a mapping"):
        load_mapping("[1]", what="it")


def test_a_rendered_chart_is_taken_apart_into_objects_and_hooks() -> None:
    rendered = from_template(
        "---\n# Source: c/templates/a.yaml\nkind: ConfigMap\nmetadata: {name: a}\n"
        "---\n# Source: c/templates/empty.yaml\n"
        "---\n# Source: c/templates/b.yaml\nkind: List\nitems: [{kind: Service}, {kind: Secret}]\n"
        "---\n# Source: c/templates/hook.yaml\nkind: Job\nmetadata:\n  name: migrate\n  annotations:\n"
        '    helm.sh/hook: pre-upgrade, pre-install\n    helm.sh/hook-weight: "-5"\n'
    )
    assert [o["kind"] for o in rendered.objects] == ["ConfigMap", "Service", "Secret"]
    (hook,) = rendered.hooks
    assert (hook.name, hook.kind, hook.weight, hook.path) == ("migrate", "Job", -5, "c/templates/hook.yaml")
    assert hook.events == ("pre-upgrade", "pre-install")
    assert "migrate" not in rendered.manifest


def test_dashes_within_a_text_do_not_end_a_document() -> None:
    text = "---\nkind: ConfigMap\ndata:\n  a: |\n    x\n    ---\n    y\n"
    assert from_template(text).objects == ({"kind": "ConfigMap", "data": {"a": "x\n---\ny\n"}},)
    assert parse_objects("") == ()


def test_objects_are_told_by_the_template_that_they_come_from() -> None:
    text = """---
# Source: top/templates/a.yaml
kind: ConfigMap
metadata: {name: one}
---
# Source: top/templates/a.yaml
kind: ConfigMap
metadata: {name: two}
---
# Source: top/charts/db/templates/a.yaml
kind: Secret
metadata: {name: three}
---
# Source: top/templates/hook.yaml
kind: Job
metadata: {name: four, annotations: {helm.sh/hook: pre-upgrade}}
"""
    rendered = from_template(text)
    for template, names in (
        ("templates/a.yaml", ["one", "two"]),
        ("charts/db/templates/a.yaml", ["three"]),
        ("templates/hook.yaml", ["four"]),
        ("templates/other.yaml", []),
    ):
        assert [obj["metadata"]["name"] for obj in objects_from(rendered, [template])] == names
