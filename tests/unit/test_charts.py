"""The chart's versions, their packages and their index, without Helm."""

from __future__ import annotations

import io
import json
import tarfile

import pytest
import yaml

from dev.charts import (
    GOOD_VERSIONS,
    BadVersion,
    ChartRepository,
    Edit,
    build,
    build_all,
    light_values,
    load_versions,
)
from dev.charts.later import later_versions, publish
from dev.charts.many import AFTER, BEFORE, many
from dev.charts.package import files_of, index_of
from dev.charts.versions import ChartVersion


def test_every_version_of_the_table_is_either_good_or_named_as_bad() -> None:
    table = load_versions()
    bad = {version for version, entry in table.items() if entry.bad}
    assert bad == set(BadVersion)
    assert set(table) - bad == set(GOOD_VERSIONS)


def test_packing_twice_gives_the_same_bytes() -> None:
    first = {package.version: package.digest for package in build_all(load_versions())}
    second = {package.version: package.digest for package in build_all(load_versions())}
    assert first == second
    assert len(set(first.values())) == len(first)


@pytest.mark.parametrize("version", load_versions())
def test_every_version_has_readable_values_schema_and_changelog(version: str) -> None:
    files = files_of(version, load_versions())
    chart = yaml.safe_load(files["Chart.yaml"])
    assert chart["version"] == chart["appVersion"] == version
    changes = yaml.safe_load(chart["annotations"]["artifacthub.io/changes"])
    assert changes
    assert all(set(change) == {"kind", "description"} for change in changes)
    assert isinstance(yaml.safe_load(files["values.yaml"]), dict)
    assert json.loads(files["values.schema.json"])["title"] == "aeterna"


def test_an_archive_holds_the_chart_under_its_name_with_chart_yaml_first() -> None:
    package = build("0.2.1", load_versions())
    with tarfile.open(fileobj=io.BytesIO(package.archive), mode="r:gz") as tar:
        names = tar.getnames()
    assert names[0] == "aeterna/Chart.yaml"
    assert "aeterna/templates/aeterna/deployment.yaml" in names


def test_the_index_gives_each_archive_with_its_digest_and_date() -> None:
    packages = build_all(load_versions(), ["0.2.0", "0.2.1"])
    entries = yaml.safe_load(index_of(packages))["entries"]["aeterna"]
    assert [(entry["version"], entry["digest"], entry["urls"]) for entry in entries] == [
        (package.version, package.digest, [package.filename]) for package in packages
    ]
    assert all(entry["created"].endswith("Z") for entry in entries)


def test_an_index_of_nothing_is_still_an_index() -> None:
    assert yaml.safe_load(index_of([]))["entries"] == {}


def test_an_edit_that_fits_nowhere_is_an_error_that_names_version_and_file() -> None:
    table = load_versions()
    table["9.9.9"] = ChartVersion(
        "9.9.9", "2026-01-01T00:00:00Z", base="0.2.1", edits=(Edit("values.yaml", "nowhere", ""),)
    )
    with pytest.raises(ValueError, match=r"9\.9\.9: values\.yaml has 0 times"):
        build("9.9.9", table)


def test_the_breaking_version_renames_a_value_and_removes_another() -> None:
    table = load_versions()
    before = yaml.safe_load(files_of("0.2.1", table)["values.yaml"])
    after = yaml.safe_load(files_of("0.3.0", table)["values.yaml"])
    assert before["aeterna"]["logging"] == {"level": "info"}
    assert "logging" not in after["aeterna"]
    assert after["observability"]["logging"]["level"] == "info"
    assert "radkit" in before["aeterna"]["features"]
    assert "radkit" not in after["aeterna"]["features"]


def test_light_values_are_a_fresh_copy_each_time() -> None:
    light_values()["opal"]["enabled"] = True
    assert light_values()["opal"]["enabled"] is False


@pytest.mark.parametrize("version", later_versions())
def test_a_later_version_is_served_only_once_it_is_published(version: str) -> None:
    repository = ChartRepository(build_all(load_versions(), GOOD_VERSIONS), table=load_versions())
    assert version not in repository.versions
    package = publish(repository, version)
    assert repository.versions[-1] == version == package.metadata["appVersion"]


def test_chart_of_many_objects_renders_each_kind_as_often_as_its_values_say() -> None:
    before, after = many(50)
    assert (before.version, after.version) == (BEFORE, AFTER)
    with tarfile.open(fileobj=io.BytesIO(after.archive)) as archive:
        member = archive.extractfile("aeterna/values.yaml")
        assert member is not None
        values = yaml.safe_load(member.read())
    assert values == {"workers": 8, "first": 1, "configmaps": 20, "secrets": 10, "deployments": 10, "services": 10}


def test_chart_of_many_objects_comes_in_tens() -> None:
    with pytest.raises(ValueError, match="multiple of ten"):
        many(55)
