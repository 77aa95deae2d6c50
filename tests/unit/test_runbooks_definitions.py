"""The sentences and the commands of the check of custom resource definitions, within what a card has room for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.diff.crds import Place, Sides, compare_crd
from bot.helm.charts import ChartSource
from bot.settings import Target
from runbooks.checks.crds import _apply, _findings, apply_command

Json = dict[str, Any]
CARD_TEXT, CARD_WAY_OUT = 400, 300  # bot.slack.planned


def crd(*versions: str, stored: list[str] | None = None, name: str = "scheduledbackups.postgresql.cnpg.io") -> Json:
    plural, _, group = name.partition(".")
    made: Json = {
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": plural},
            "versions": [{"name": one, "served": True} for one in versions],
        },
    }
    return made | ({"status": {"storedVersions": stored}} if stored else {})


def target(**cluster: str) -> Target:
    chart = {"name": "aeterna", "repo": "http://x"}
    given = {"name": "prod", "namespace": "n", "release": "a", "chart": chart, "cluster": cluster}
    return Target.model_validate(given)


@pytest.mark.parametrize(
    ("source", "command"),
    [
        (
            ChartSource(name="aeterna", repo="https://charts.example"),
            "helm show crds aeterna --repo https://charts.example --version 0.6.0",
        ),
        (ChartSource(oci="oci://registry.example/aeterna"), "helm show crds oci://registry.example/aeterna --version 0.6.0"),
        (ChartSource(path=Path("/charts/my chart")), "helm show crds '/charts/my chart'"),
    ],
)  # fmt: skip
def test_the_command_is_whole_whatever_the_chart_comes_from(source: ChartSource, command: str) -> None:
    apply = "kubectl apply --server-side --force-conflicts -f -"
    assert apply_command(source, "0.6.0", target()) == f"{command} | {apply}"
    told = apply_command(source, "0.6.0", target(context="prod; rm"))
    assert told.endswith("| kubectl apply --context 'prod; rm' --server-side --force-conflicts -f -")


def test_a_password_in_the_repository_s_address_is_not_shown() -> None:
    source = ChartSource(name="aeterna", repo="https://bot:hunter2hunter2@charts.example")
    assert "hunter2" not in apply_command(source, "0.6.0", target())


@pytest.mark.parametrize("new", [crd("v1"), crd("v2")])
def test_the_way_out_of_a_stored_version_is_not_cut_on_the_card(new: Json) -> None:
    live = crd("v1beta1", "v1", stored=["v1beta1"])
    change = compare_crd(Sides("scheduledbackups.postgresql.cnpg.io", Place.TEMPLATES, live, new, live))
    stored = next(one for one in _findings(change) if one.code == "crds.stored")
    assert len(stored.text) <= CARD_TEXT
    assert len(stored.way_out) <= CARD_WAY_OUT
    assert ("kubectl patch crd" in stored.way_out) is (new == crd("v1"))


def test_many_definitions_are_one_finding_that_says_how_many_more_there_are() -> None:
    behind = [f"things{number}.x.example in the cluster lacks version v1 and v1 spec.field" for number in range(20)]
    (found,) = _apply(behind, "helm …", refused=False)
    assert len(found.text) <= CARD_TEXT
    assert found.text.endswith("; 16 more, in crds.diff in the thread.")
    assert next(iter(_apply(["x" * 900], "helm …", refused=True))).way_out.startswith("Before the upgrade, once")
