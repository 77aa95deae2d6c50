"""What a chart draws anew at each rendering: found, told apart from what somebody changed, and bound to no approval."""

from __future__ import annotations

import base64
import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.diff import drawn as drawing
from bot.diff import manifests, noise
from bot.diff.fields import Item, without, written
from bot.diff.objects import compare
from bot.diff.templates import Templates
from bot.fingerprints import Fingerprints
from bot.kube.objects import ObjectRef, ref_of

NOW = datetime(2026, 11, 22, 23, 30, 5, tzinfo=UTC)


def obj(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **more}


def deployment(token: str, image: str, mark: str = "x") -> dict[str, Any]:
    pod = {"containers": [{"name": "server", "image": image, "env": [{"name": "TOKEN", "value": token}]}]}
    meta = {"annotations": {"rollme": mark}}
    return obj("Deployment", "d", apiVersion="apps/v1", spec={"template": {"metadata": meta, "spec": pod}})


def paths(found: drawing.Drawn) -> dict[str, list[str]]:
    return {str(ref): sorted(map(written, steps)) for ref, steps in found.items()}


def test_what_differs_between_two_renderings_is_found_field_by_field_within_lists_too() -> None:
    first = [deployment("a1", "i:1", "m1"), obj("Secret", "s", stringData={"p": "a1", "q": "same"})]
    second = [deployment("b2", "i:1", "m2"), obj("Secret", "s", stringData={"p": "b2", "q": "same"})]
    assert paths(drawing.drawn(first, second, namespace="n")) == {
        "Deployment/d": [
            "spec.template.metadata.annotations.rollme",
            "spec.template.spec.containers[server].env[TOKEN].value",
        ],
        "Secret/s": ["data.p"],
    }


def test_a_new_image_beside_a_drawn_value_is_still_a_change() -> None:
    old, new = deployment("a0", "i:1"), deployment("a1", "i:2")
    found = drawing.drawn([new], [deployment("b2", "i:2")], namespace="n")
    (change,) = compare([old], [new], namespace="n", generated=found)
    assert [one.path for one in change.fields] == ["spec.template.spec.containers[server].image"]
    assert noise.sentences([(str(change.ref), change.noise)]) == [
        "Generated anew at every rendering: 1 value of 1 object."
    ]


def test_objects_whose_name_is_drawn_are_one_and_the_same() -> None:
    first, second = ([obj("Job", f"migrate-{text}", spec={"a": 1})] for text in ("x1", "y2"))
    found = drawing.drawn(first, second, namespace="n")
    assert paths(found) == {"Job/migrate-x1": ["metadata.name"]}
    other = drawing.drawn(second, first, namespace="n")
    assert manifests.steady(first, found, namespace="n") == manifests.steady(second, other, namespace="n")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2026-11-22", True),
        ("at 20261122233005", True),
        ("2026-11-23T01:30:05+02:00", True),
        (str(int(NOW.timestamp()) - 60), True),
        (str(int(NOW.timestamp() * 1000)), True),
        ("2025-11-22", False),
        ("1234567890", False),
        ("v1.2.3", False),
    ],
)
def test_the_time_of_the_rendering_is_known_by_its_looks(text: str, found: bool) -> None:
    plain, secret = obj("ConfigMap", "c", data={"k": text}), obj("Secret", "s", stringData={"k": text})
    there = drawing.clocked([plain, secret], NOW, namespace="n")
    assert paths(there) == ({"ConfigMap/c": ["data.k"], "Secret/s": ["data.k"]} if found else {})


def test_the_time_is_found_in_lists_with_and_without_names() -> None:
    one = obj(
        "ConfigMap", "c", spec={"args": ["x", "--since=2026-11-22"], "env": [{"name": "N", "value": "2026-11-22"}]}
    )
    (steps,) = drawing.clocked([one], NOW, namespace="n").values()
    assert sorted(map(written, steps)) == ["spec.args[1]", "spec.env[N].value"]
    left = without(one, steps)
    assert left["spec"] == {"args": ["x", None], "env": [{"name": "N"}]}


def test_what_is_as_it_was_was_not_drawn() -> None:
    secret, config = obj("Secret", "s", data={"p": "YQ=="}), obj("ConfigMap", "c", data={"k": "1"})
    labelled = {**secret, "metadata": {"name": "s", "labels": {"helm.sh/chart": "x-2"}}}
    assert drawing.same_as_before([secret, config], [labelled], namespace="n")
    assert not drawing.same_as_before([config], [secret], namespace="n")
    assert not drawing.same_as_before([secret], [obj("Secret", "s", data={"p": "Yg=="})], namespace="n")


def test_certificates_are_no_passwords() -> None:
    ref = ObjectRef("v1", "Secret", "s", "n")
    steps = [("data", key) for key in ("password", "tls.crt", "tls.key", "ca.crt", "token")]
    assert drawing.credentials(ref, steps) == ("password", "token")
    assert drawing.credentials(ObjectRef("v1", "ConfigMap", "s", "n"), steps) == ()


def test_two_sets_of_drawn_paths_are_laid_together() -> None:
    ref, other = ref_of(obj("Secret", "a")), ref_of(obj("Secret", "b"))
    one, more = frozenset([("data", "x")]), frozenset([("data", Item((), (0,)))])
    assert drawing.together({ref: one}, {ref: more, other: one}) == {ref: one | more, other: one}


@pytest.mark.parametrize(
    ("texts", "drawing_templates"),
    [
        ({"templates/a.yaml": "{{ randAlphaNum 8 }}"}, {"templates/a.yaml"}),
        ({"templates/a.yaml": '{{ .Values.x | default (randAscii 9 | b64enc) | quote }}'}, {"templates/a.yaml"}),
        ({"templates/a.yaml": '{{ $ca := genCA "x" 365 }}{{ now | date "2006" }}'}, {"templates/a.yaml"}),
        ({"templates/a.yaml": '{{ fail "now randAlpha" }}{{/* uuidv4 */}} now uuidv4 {{ .Values.now }}'}, set()),
        ({"templates/_h.tpl": '{{ define "p" }}{{ uuidv4 }}{{ end }}', "templates/a.yaml": "x"}, None),
        ({"templates/_h.tpl": '{{ define "p" }}x{{ end }}', "templates/a.yaml": "{{ uuidv4 }}"}, {"templates/a.yaml"}),
    ],
)  # fmt: skip
def test_templates_that_draw_are_known(texts: dict[str, str], drawing_templates: set[str] | None) -> None:
    assert Templates(texts).drawing == drawing_templates


def test_a_secret_in_a_template_is_found_as_the_api_server_has_it() -> None:
    coded = base64.b64encode(b"2026-11-22").decode()
    (steps,) = drawing.clocked([obj("Secret", "s", data={"k": coded})], NOW, namespace="n").values()
    assert steps == {("data", "k")}


values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
manifest = st.dictionaries(st.text("abc", min_size=1, max_size=2), values, max_size=5)


def turned(value: Any, dice: random.Random) -> Any:
    """The same, with the keys of its maps in another order."""
    if isinstance(value, dict):
        keys = dice.sample(list(value), len(value))
        return {key: turned(value[key], dice) for key in keys}
    return [turned(part, dice) for part in value] if isinstance(value, list) else value


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    manifest, st.dictionaries(st.text("xyz", min_size=1), st.text("pq"), max_size=3), st.randoms(use_true_random=False)
)
def test_neither_order_nor_what_is_drawn_nor_time_changes_what_an_approval_is_bound_to(
    found: dict[str, Any], drawn: dict[str, str], dice: random.Random
) -> None:
    def rendering(draw: str) -> list[dict[str, Any]]:
        objects = [obj("ConfigMap", name, spec=value) for name, value in found.items()]
        made = obj("Secret", "s", stringData={key: f"{value}{draw}" for key, value in drawn.items()} | {"fixed": "1"})
        return dice.sample([turned(one, dice) for one in [*objects, made]], len(objects) + 1)

    def bound(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> str:
        steady = manifests.steady(first, drawing.drawn(first, second, namespace="n"), namespace="n")
        return Fingerprints("token").digest(steady)

    assert bound(rendering("1"), rendering("2")) == bound(rendering("3"), rendering("4"))
