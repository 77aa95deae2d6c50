"""Definitions of custom resources: what goes away, what is stored, who uses it, and what Helm will not do."""

from __future__ import annotations

from typing import Any

import pytest

from bot.diff import crds
from bot.diff.crds import NOT_UPGRADED, Place, compare_crd

Json = dict[str, Any]


def crd(*versions: str, fields: Json | None = None, stored: list[str] | None = None, **spec: Any) -> Json:
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": fields or {"size": {"type": "integer"}}}},
    }
    made: Json = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.x.example"},
        "spec": {
            "group": "x.example",
            "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things"},
            "versions": [{"name": name, "served": True, "schema": {"openAPIV3Schema": schema}} for name in versions],
            **spec,
        },
    }
    if stored is not None:
        made["status"] = {"storedVersions": stored}
    return made


def thing(name: str, **spec: Any) -> Json:
    return {"apiVersion": "x.example/v1", "kind": "Thing", "metadata": {"name": name, "namespace": "n"}, "spec": spec}


def test_a_definition_against_itself_says_nothing() -> None:
    one = crd("v1", stored=["v1"])
    found = compare_crd(one, one, one, place=Place.FOLDER)
    assert (found.fields, found.blocked, found.notes) == ((), (), ())
    assert (found.name, found.kind) == ("things.x.example", "Thing")


def test_a_field_that_goes_away_names_who_uses_it() -> None:
    old = crd("v1", fields={"size": {"type": "integer"}, "parts": {"type": "array", "items": {
        "type": "object", "properties": {"old": {}}}}}, stored=["v1"])  # fmt: skip
    new = crd("v1", fields={"size": {"type": "integer"}, "parts": {"type": "array", "items": {"type": "object"}}})
    found = compare_crd(
        old, new, old, place=Place.TEMPLATES, in_use=[thing("a", parts=[{}, {"old": 1}]), thing("b", parts=[{}])]
    )
    (use,) = found.fields
    assert (use.version, use.change.path, use.change.what) == ("v1", "spec.parts[].old", "removed")
    assert [ref.name for ref in use.users] == ["a"]
    assert found.notes == ("v1: spec.parts[].old is gone from the schema and would no longer be read; set by n/a.",)
    assert [ref.name for ref in found.users] == ["a", "b"]


def test_a_folder_of_definitions_is_not_upgraded_and_it_is_said_what_is_missing() -> None:
    live = crd("v1", stored=["v1"])
    new = crd("v1", "v2", fields={"size": {"type": "integer"}, "fresh": {}})
    found = compare_crd(live, new, live, place=Place.FOLDER)
    assert found.notes[0].endswith(NOT_UPGRADED)
    assert found.notes[1] == "The cluster's things.x.example does not know yet: version v2, spec.fresh."
    assert compare_crd(live, new, live, place=Place.TEMPLATES).notes == ()


def test_a_stored_version_that_goes_away_is_refused_by_the_api_server() -> None:
    live = crd("v1beta1", "v1", stored=["v1beta1", "v1"])
    found = compare_crd(live, crd("v1"), live, place=Place.TEMPLATES)
    assert "status.storedVersions names it" in found.blocked[0]
    assert found.notes == ("Thing is no longer served as v1beta1, in which objects are stored.",)
    assert [(one.name, one.served_old, one.served_new, one.served_live, one.stored) for one in found.versions] == [
        ("v1", True, True, True, True),
        ("v1beta1", True, None, True, True),
    ]


def test_a_version_that_is_only_stored_is_known() -> None:
    live = crd("v1", stored=["v1alpha1", "v1"])
    found = compare_crd(None, crd("v1"), live, place=Place.FOLDER)
    assert ("v1alpha1", None, True) in [(one.name, one.served_live, one.stored) for one in found.versions]


def test_a_definition_that_leaves_the_templates_takes_its_objects_along() -> None:
    live = crd("v1", stored=["v1"])
    found = compare_crd(live, None, live, place=Place.TEMPLATES, in_use=[thing(name) for name in "abcdefg"])
    assert found.blocked == (
        "things.x.example is not in the new chart: the upgrade would delete it and with it every Thing "
        "(n/a, n/b, n/c, n/d, n/e and 2 more).",
    )


@pytest.mark.parametrize("place", [Place.TEMPLATES, Place.FOLDER])
def test_a_definition_that_is_kept_stays_and_so_does_one_from_the_folder(place: Place) -> None:
    live = crd("v1", stored=["v1"])
    if place is Place.TEMPLATES:
        live["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
    found = compare_crd(live, None, live, place=place)
    assert found.blocked == ()
    assert found.notes == ("things.x.example is not in the new chart any more; it stays in the cluster.",)


def test_another_scope_cannot_be_had_in_place() -> None:
    live = crd("v1", stored=["v1"])
    found = compare_crd(live, crd("v1", scope="Cluster"), live, place=Place.TEMPLATES)
    assert found.blocked == (
        "things.x.example: spec.scope changes from Namespaced to Cluster, which cannot be changed in place.",
    )


def test_a_definition_that_nobody_could_read_is_said() -> None:
    assert compare_crd(crd("v1"), crd("v1"), None, place=Place.FOLDER).notes == (
        "things.x.example is not in the cluster, or could not be read.",
    )


def test_fields_that_may_not_change_are_read_from_the_rules() -> None:
    rules = [{"rule": "self == oldSelf", "message": "no"}]
    made = crd("v1", fields={"class": {"type": "string", "x-kubernetes-validations": rules}, "size": {}})
    assert crds.immutable_fields(made, "v1") == ("spec.class",)
    assert crds.immutable_fields(made, "v2") == ()
    assert crds.immutable_fields(None, "v1") == ()


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("spec.size", True),
        ("spec.other", False),
        ("spec.map.*.x", True),
        ('spec."a.b"', True),
        ("spec.deep[][].y", True),
        ("spec.size.x", False),
    ],
)
def test_whether_an_object_sets_a_field(path: str, found: bool) -> None:
    obj = thing("a", size=1, map={"k": {"x": 1}}, deep=[[{"y": 1}]], **{"a.b": 1})
    assert crds.uses(obj, path) is found


def test_definitions_are_found_among_other_objects() -> None:
    assert list(crds.by_name([crd("v1"), thing("a")])) == ["things.x.example"]
