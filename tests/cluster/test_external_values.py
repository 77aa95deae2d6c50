"""The values of a switch-over, rendered by Helm with the chart of each version: where the server is led, what still stands."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from bot.diff.values import place
from dev.charts import CHART, GOOD_VERSIONS, build, load_versions
from dev.charts.later import later_versions
from dev.charts.package import files_of
from runbooks import external
from runbooks.external import SERVICES, Endpoint, Service

VERSIONS = [*GOOD_VERSIONS, "0.5.0", "0.6.0"]
HOSTS = {"postgresql": {"host": "a.example"}, "redis": {"host": "b.example"}, "vectorStore": {"host": "c.example"}}
BUNDLED = {
    "postgres": "Cluster/aeterna-cnpg",
    "redis": "Deployment/aeterna-dragonfly",
    "qdrant": "StatefulSet/aeterna-qdrant",
}
NAMED = {"postgres": "POSTGRESQL", "redis": "REDIS", "qdrant": "QDRANT"}
SECRETS = {
    "postgres": "AETERNA_POSTGRESQL_PASSWORD",
    "redis": "AETERNA_REDIS_PASSWORD",
    "qdrant": "AETERNA_QDRANT_API_KEY",
}


def endpoint(service: Service, version: str) -> Endpoint:
    named = ("memories", "aeterna") if service == "postgres" else ("", "")
    key = external.fixed_key(service, version) or "my-key"
    tls = external.takes_tls(service, version)
    return Endpoint(service, "outside.example", 4321, *named, tls, "outside", key)


class Rendered:
    """What a chart gives with these values."""

    def __init__(self, helm: Path, chart: Path, values: Mapping[str, Any], directory: Path) -> None:
        file = directory / "values.json"
        file.write_text(json.dumps(values))
        command: list[str | Path] = [helm, "template", "aeterna", chart, "--values", file, "--namespace", "test"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        self._objects = {
            f"{one['kind']}/{one['metadata']['name']}": one for one in yaml.safe_load_all(done.stdout) if one
        }

    @property
    def bundled(self) -> set[str]:
        return {service for service, name in BUNDLED.items() if name in self._objects}

    def told(self, service: str, what: str) -> str | None:
        data: dict[str, str] = self._objects["ConfigMap/aeterna"]["data"]
        return data.get(f"AETERNA_{NAMED[service]}_{what}")

    def secret(self, service: str) -> tuple[str, str] | None:
        (container,) = self._objects["Deployment/aeterna"]["spec"]["template"]["spec"]["containers"]
        for one in container["env"]:
            if one["name"] == SECRETS[service]:
                reference = one["valueFrom"]["secretKeyRef"]
                return reference["name"], reference["key"]
        return None


@cache
def archive(version: str) -> bytes:
    return build(version, load_versions() | later_versions()).archive


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_server_is_led_outside_and_the_others_stay_where_they_are(
    version: str, service: Service, helm_program: Path, tmp_path: Path
) -> None:
    chart = tmp_path / f"{CHART}-{version}.tgz"
    chart.write_bytes(archive(version))
    before: dict[str, Any] = {} if external.bundles(version) else HOSTS
    to = endpoint(service, version)
    over = place(before, external.switch_over(version, to))
    rendered = Rendered(helm_program, chart, over, tmp_path)
    assert (rendered.told(service, "HOST"), rendered.told(service, "PORT")) == ("outside.example", "4321")
    assert rendered.secret(service) == ("outside", to.key)
    if service == "postgres":
        assert rendered.told(service, "DATABASE") == "memories"
    usual = Rendered(helm_program, chart, before, tmp_path)
    others = set(SERVICES) - {service}
    assert {one: rendered.told(one, "HOST") for one in others} == {one: usual.told(one, "HOST") for one in others}
    gone = {"postgres"} if service == "postgres" else set()
    assert rendered.bundled == (set(SERVICES) - gone if external.bundles(version) else set())
    if off := external.switch_off(version, service):
        without = Rendered(helm_program, chart, place(over, off), tmp_path)
        assert without.bundled == others
        assert without.told(service, "HOST") == "outside.example"


def test_what_is_compared_is_what_the_server_s_env_names(helm_program: Path, tmp_path: Path) -> None:
    chart = tmp_path / f"{CHART}-0.2.1.tgz"
    chart.write_bytes(archive("0.2.1"))
    rendered = Rendered(helm_program, chart, {}, tmp_path)
    for service in SERVICES:
        now = external.in_use(_defaults("0.2.1"), "0.2.1", service, release="aeterna")
        assert now is not None
        assert rendered.told(service, "HOST") == now.host
        assert rendered.secret(service) == ((now.secret, now.key) if now.secret else None)


def _defaults(version: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(files_of(version, load_versions())["values.yaml"])
    return found
