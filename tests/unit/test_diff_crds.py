"""Definitions of custom resources: what goes away, what is stored, who uses it, and what Helm will not do."""

from __future__ import annotations

from typing import Any

import pytest

from bot.diff import crds
from bot.diff.crds import About, CrdChange, Place, Sides, compare_crd, differ, sides

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


def side(old: Json | None, new: Json | None, live: Json | None, place: Place = Place.TEMPLATES, **more: Any) -> Sides:
    return Sides("things.x.example", place, old, new, live, **more)


def said(found: CrdChange) -> list[tuple[str, str]]:
    return [(one.about.name, one.text) for one in found.said]


def test_a_definition_against_itself_says_nothing() -> None:
    one = crd("v1", stored=["v1"])
    assert not differ(side(one, one, one, Place.FOLDER))
    found = compare_crd(side(one, one, one, Place.FOLDER))
    assert (found.fields, found.said, found.lacking, found.others) == ((), (), (), 0)
    assert (found.name, found.kind) == ("things.x.example", "Thing")


def test_a_field_that_goes_away_names_who_uses_it() -> None:
    old = crd("v1", fields={"size": {"type": "integer"}, "parts": {"type": "array", "items": {
        "type": "object", "properties": {"old": {}}}}}, stored=["v1"])  # fmt: skip
    new = crd("v1", fields={"size": {"type": "integer"}, "parts": {"type": "array", "items": {"type": "object"}}})
    assert differ(side(old, new, old))
    found = compare_crd(side(old, new, old), in_use=[thing("a", parts=[{}, {"old": 1}]), thing("b", parts=[{}])])
    (use,) = found.fields
    assert (use.version, use.change.path, use.change.what) == ("v1", "spec.parts[].old", "removed")
    assert [ref.name for ref in use.users] == ["a"]
    assert said(found) == [
        ("FIELD", "Thing v1: spec.parts[].old is gone from the schema and would no longer be read; set by n/a.")
    ]
    assert [ref.name for ref in found.users] == ["a", "b"]


def test_a_folder_of_definitions_is_not_upgraded_and_it_is_said_what_is_missing() -> None:
    live = crd("v1", stored=["v1"])
    new = crd("v1", "v2", fields={"size": {"type": "integer"}, "fresh": {}})
    found = compare_crd(side(live, new, live, Place.FOLDER))
    assert said(found) == [("BEHIND", "things.x.example in the cluster lacks version v2 and v1 spec.fresh")]
    assert compare_crd(side(live, new, live)).said == ()


def test_what_a_definition_lacks_is_cut_with_a_number() -> None:
    live = crd("v1", stored=["v1"])
    fields = {"size": {"type": "integer"}, **{f"f{number}": {} for number in range(9)}}
    (one,) = compare_crd(side(None, crd("v1", fields=fields), live, Place.FOLDER)).said
    assert one.text == "things.x.example in the cluster lacks v1 spec.f0, v1 spec.f1, v1 spec.f2, v1 spec.f3 and 5 more"


def test_a_folder_whose_definition_is_not_in_the_cluster_is_not_installed_by_an_upgrade() -> None:
    assert differ(side(crd("v1"), crd("v1"), None, Place.FOLDER))
    assert not differ(side(crd("v1"), crd("v1"), None, Place.FOLDER, unread=True))
    found = compare_crd(side(crd("v1"), crd("v1"), None, Place.FOLDER))
    assert said(found) == [("BEHIND", "things.x.example is not in the cluster")]
    unread = compare_crd(side(crd("v1"), crd("v1", "v2"), None, Place.FOLDER, unread=True))
    assert said(unread) == [
        (
            "BEHIND",
            "things.x.example in the cluster lacks version v2 (if it is still the old chart's: it could not be read)",
        )
    ]
    assert compare_crd(side(None, crd("v1"), None, Place.FOLDER, unread=True)).said == ()


def test_other_differences_are_counted() -> None:
    live = crd("v1", fields={"size": {"type": "integer", "maximum": 3}}, stored=["v1"])
    found = compare_crd(side(live, crd("v1", fields={"size": {"type": "integer", "maximum": 5}}), live, Place.FOLDER))
    assert said(found) == [("BEHIND", "things.x.example in the cluster has 1 other difference")]


@pytest.mark.parametrize("place", [Place.TEMPLATES, Place.FOLDER])
def test_a_stored_version_that_goes_away_is_refused_by_the_api_server(place: Place) -> None:
    live = crd("v1beta1", "v1", stored=["v1beta1", "v1"])
    found = compare_crd(side(live, crd("v1"), live, place), in_use=[thing("a")])
    stored = next(one for one in found.said if one.about is About.STORED)
    assert "version v1beta1 goes, and objects may be stored in it" in stored.text
    assert "until they are stored in another (1 known: n/a)." in stored.text
    assert ("UNSERVED", "Thing (things.x.example) would no longer be served as v1beta1 (1 known: n/a).") in said(found)
    assert [(one.name, one.served_old, one.served_new, one.served_live, one.stored) for one in found.versions] == [
        ("v1", True, True, True, True),
        ("v1beta1", True, None, True, True),
    ]


def test_a_version_that_is_only_stored_is_known() -> None:
    live = crd("v1", stored=["v1alpha1", "v1"])
    found = compare_crd(side(None, crd("v1"), live, Place.FOLDER))
    assert ("v1alpha1", None, True) in [(one.name, one.served_live, one.stored) for one in found.versions]


def test_a_definition_that_leaves_the_templates_takes_its_objects_along() -> None:
    live = crd("v1", stored=["v1"])
    found = compare_crd(side(live, None, live), in_use=[thing(name) for name in "abcdefg"])
    assert said(found) == [
        (
            "LEAVES",
            "things.x.example is not in the new chart: Helm deletes the definition, and with it every Thing "
            "(7 known: n/a, n/b, n/c, n/d, n/e and 2 more).",
        )
    ]


def test_a_definition_that_moves_into_the_folder_is_deleted_and_not_made_again() -> None:
    (one,) = sides([], [crd("v1")], [crd("v1")], [])
    assert (one.place, one.new, one.moves) == (Place.TEMPLATES, None, True)
    (text,) = compare_crd(one).said
    assert text.text.startswith("things.x.example moves to crds/, where Helm does not look at an upgrade: Helm deletes")


def test_each_definition_stands_where_helm_finds_it() -> None:
    other = crd("v1")
    other["metadata"]["name"] = "others.x.example"
    found = sides([crd("v1")], [other], [], [crd("v1"), other, thing("a")])
    assert [(one.name, one.place, one.old is None, one.new is None) for one in found] == [
        ("others.x.example", Place.TEMPLATES, False, False),
        ("things.x.example", Place.TEMPLATES, False, False),
    ]
    assert [(one.place, one.new) for one in sides([other], [], [], [])] == [(Place.FOLDER, None)]


@pytest.mark.parametrize("place", [Place.TEMPLATES, Place.FOLDER])
def test_a_definition_that_is_kept_stays_and_so_does_one_from_the_folder(place: Place) -> None:
    live = crd("v1", stored=["v1"])
    if place is Place.TEMPLATES:
        live["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
    found = compare_crd(side(live, None, live, place))
    assert said(found) == [("STAYS", "things.x.example is not in the new chart any more; the cluster keeps it.")]


def test_another_scope_cannot_be_had_in_place() -> None:
    live = crd("v1", stored=["v1"])
    assert differ(side(live, crd("v1", scope="Cluster"), live))
    found = compare_crd(side(live, crd("v1", scope="Cluster"), live))
    assert said(found) == [
        (
            "FIXED",
            "things.x.example: spec.scope changes from Namespaced to Cluster, which cannot be changed in place.",
        )
    ]


@pytest.mark.parametrize(
    ("rule", "paths"),
    [
        ("self == oldSelf", ("spec.class",)),
        ("oldSelf == self", ("spec.class",)),
        ("!has(oldSelf.name) || self.name == oldSelf.name", ("spec.class.name",)),
        ("has(self.name) && oldSelf.name == self.name", ("spec.class.name",)),
        ("self.name == oldSelf.other", ()),
        ("self >= oldSelf", ()),
        ("self == oldSelf || self > 3", ()),
    ],
)
def test_fields_that_may_not_change_are_read_from_the_rules(rule: str, paths: tuple[str, ...]) -> None:
    rules = [{"rule": rule, "message": "no"}]
    made = crd("v1", fields={"class": {"type": "string", "x-kubernetes-validations": rules}, "size": {}})
    assert crds.immutable_fields(made, "v1") == paths
    assert crds.immutable_fields(made, "v2") == ()
    assert crds.immutable_fields(None, "v1") == ()


def test_objects_are_listed_by_the_version_in_which_they_are_stored() -> None:
    made = crd("v1", "v2")
    assert crds.served_as(made) == ("x.example/v1", "Thing")
    made["spec"]["versions"][1]["storage"] = True
    assert crds.served_as(made) == ("x.example/v2", "Thing")
    made["spec"]["versions"][1]["served"] = False
    assert crds.served_as(made) == ("x.example/v1", "Thing")
    assert crds.served_as(crd()) is None


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
