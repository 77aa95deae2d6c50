"""The command lines and the environment that Helm gets, seen by a script in its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from bot.errors import Permanent, UserMistake
from bot.helm.client import Helm
from bot.helm.environment import HelmSettings
from bot.helm.failures import HelmTooOld
from bot.helm.flags import Wait
from bot.helm.models import Progress, Status

MINUTE = timedelta(minutes=1)
RELEASE = {
    "name": "aeterna",
    "version": 4,
    "namespace": "prod",
    "info": {"status": "deployed", "description": "mine", "last_deployed": "2026-11-22T15:22:33.123456789Z"},
    "chart": {"metadata": {"name": "aeterna", "version": "0.2.1", "appVersion": "0.2.1"}},
    "config": {"password": "hunter2"},
    "manifest": "",
}
Make = Callable[..., Helm]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Helm in the form of a script that writes down its arguments and environment, and prints what it is
    told.
    """

    def make(
        version: str = "v4.3.1", *, out: str = "", environ: dict[str, str] | None = None, **settings: object
    ) -> Helm:
        (tmp_path / "out").write_text(out)
        program = tmp_path / "helm"
        program.write_text(
            f'#!/bin/sh\nif [ "$1" = version ]; then echo {version}; exit; fi\n'
            f'for a in "$@"; do printf \'%s\\n\' "$a"; done > {tmp_path}/args\nenv > {tmp_path}/env\n'
            f'echo \'level=DEBUG msg="waiting for resource" namespace=prod name=web kind=Deployment'
            f" expectedStatus=Current actualStatus=InProgress' >&2\ncat {tmp_path}/out\n"
        )
        program.chmod(0o755)
        given = HelmSettings(program, tmp_path / "home", **settings)  # type: ignore[arg-type]
        return Helm(given, environ={"PATH": "/usr/bin:/bin", **(environ or {})})

    return make


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    (tmp_path / "chart").mkdir()
    return tmp_path / "chart"


def arguments(tmp_path: Path) -> list[str]:
    return (tmp_path / "args").read_text().splitlines()


async def test_helm_sees_no_secret_of_ours_and_only_its_own_home(make: Make, tmp_path: Path) -> None:
    helm = make(
        out="[]",
        kubeconfig=tmp_path / "k",
        environ={
            "SLACK_BOT_TOKEN": "xoxb",
            "DATABASE_URL": "postgres://",
            "HTTPS_PROXY": "http://proxy",
            "HOME": "/root",
            "KUBECONFIG": "/other",
            "HELM_NAMESPACE": "other",
            "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        },
    )
    assert await helm.list("prod") == ()
    seen = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines() if "=" in line)
    seen = {name: value for name, value in seen.items() if name not in {"PWD", "SHLVL", "_", "OLDPWD"}}
    home = str(tmp_path / "home")
    assert seen["HTTPS_PROXY"] == "http://proxy"
    assert seen["KUBERNETES_SERVICE_HOST"] == "10.0.0.1"
    assert seen["KUBECONFIG"] == str(tmp_path / "k")
    assert (seen["HOME"], seen["HELM_CACHE_HOME"]) == (home, f"{home}/cache/helm")
    assert not {"SLACK_BOT_TOKEN", "DATABASE_URL", "HELM_NAMESPACE"} & set(seen)


async def test_context_and_impersonation_are_passed_as_flags(make: Make, tmp_path: Path) -> None:
    helm = make(out="[]", context="prod", as_user="ada", as_groups=("ops", "dev"))
    await helm.list("prod")
    assert arguments(tmp_path)[-4:] == [
        "--kube-context=prod",
        "--kube-as-user=ada",
        "--kube-as-group=ops",
        "--kube-as-group=dev",
    ]


async def test_upgrade_on_helm_4_names_everything(make: Make, tmp_path: Path, chart: Path) -> None:
    helm = make(out=json.dumps(RELEASE))
    notes: list[Progress] = []
    release = await helm.upgrade(
        release="aeterna",
        namespace="prod",
        chart=chart,
        values=tmp_path / "v.yaml",
        timeout=MINUTE,
        server_side="true",
        description="run 7\nby Ada",
        labels={"bot.example/run": "r-7", "a": "b"},
        on_progress=notes.append,
    )
    assert arguments(tmp_path) == [
        "upgrade",
        "aeterna",
        str(chart),
        "--namespace=prod",
        f"--values={tmp_path}/v.yaml",
        "--reset-values",
        "--server-side=true",
        "--timeout=60s",
        "--wait=watcher",
        "--labels=a=b,bot.example/run=r-7",
        "--description=run 7 by Ada",
        "--output=json",
        "--debug",
    ]
    assert (release.revision, release.status, str(release.chart)) == (4, Status.DEPLOYED, "aeterna 0.2.1")
    assert "hunter2" not in repr(release)
    assert notes == [Progress("Deployment", "web", "InProgress", "Deployment web: InProgress")]


async def test_upgrade_on_helm_3_leaves_out_what_it_does_not_know(make: Make, tmp_path: Path, chart: Path) -> None:
    helm = make("v3.18.4", out=json.dumps(RELEASE))
    await helm.upgrade(
        release="aeterna", namespace="prod", chart=chart, values=tmp_path / "v.yaml", timeout=MINUTE, wait=Wait.WATCHER
    )
    assert "--wait" in arguments(tmp_path)
    assert not [argument for argument in arguments(tmp_path) if argument.startswith("--server-side")]


async def test_server_side_apply_on_helm_3_is_refused_before_anything_runs(
    make: Make, tmp_path: Path, chart: Path
) -> None:
    with pytest.raises(Permanent, match="cannot apply server-side"):
        await make("v3.18.4").upgrade(
            release="aeterna", namespace="prod", chart=chart, values=tmp_path / "v", timeout=MINUTE, server_side="true"
        )
    assert not (tmp_path / "args").exists()


@pytest.mark.parametrize(
    ("version", "described"), [("v4.3.1", True), ("v4.2.4", False), ("v3.21.0", False)], ids=["4.3", "4.2", "3.21"]
)
async def test_rollback_names_its_revision_and_is_described_where_helm_can(
    make: Make, tmp_path: Path, version: str, described: bool
) -> None:
    await make(version).rollback(release="aeterna", namespace="prod", revision=3, timeout=MINUTE, description="run 8")
    assert arguments(tmp_path)[:4] == ["rollback", "aeterna", "3", "--namespace=prod"]
    assert ("--description=run 8" in arguments(tmp_path)) is described


async def test_rollback_without_a_revision_is_a_mistake_of_the_caller(make: Make) -> None:
    with pytest.raises(ValueError, match="number of a revision"):
        await make().rollback(release="aeterna", namespace="prod", revision=0, timeout=MINUTE)


@pytest.mark.parametrize("version", ["v3.17.3", "v2.16.0", "v5.0.0"])
async def test_a_version_that_does_not_fit_is_named_with_the_way_out(make: Make, version: str) -> None:
    with pytest.raises(HelmTooOld, match=version.removeprefix("v")) as caught:
        await make(version).version()
    assert "Install Helm 4" in caught.value.way_out


async def test_a_program_that_is_not_helm_is_recognised(make: Make) -> None:
    with pytest.raises(Permanent, match="does not answer as Helm does"):
        await make("hello").version()


@pytest.mark.parametrize("name", ["--all", "a b", "A", "", "x" * 54, "a;b", "$(id)"])
async def test_a_name_that_cannot_be_one_never_reaches_helm(make: Make, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserMistake):
        await make().status(name, "prod")
    with pytest.raises(UserMistake):
        await make().status("aeterna", name * 2)
    assert not (tmp_path / "args").exists()


@pytest.mark.parametrize("labels", [{"a": "b,c=d"}, {"owner": "me"}, {"a b": "c"}, {"a": "x" * 64}])
async def test_a_label_that_helm_would_misread_is_refused(
    make: Make, tmp_path: Path, chart: Path, labels: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match="label of a release"):
        await make().upgrade(
            release="aeterna", namespace="prod", chart=chart, values=tmp_path / "v", timeout=MINUTE, labels=labels
        )


async def test_no_values_are_an_empty_mapping(make: Make) -> None:
    assert await make(out="null\n").get_values("aeterna", "prod") == {}


async def test_an_answer_that_is_not_helms_is_an_error_without_the_answer_in_it(make: Make) -> None:
    with pytest.raises(Permanent, match="not as expected") as caught:
        await make(out='{"name": "aeterna", "version": "hunter2"}').status("aeterna", "prod")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_history_is_typed_and_ordered(make: Make) -> None:
    lines = [
        {"revision": 2, "updated": "2026-11-22T15:22:33Z", "status": "deployed", "chart": "my-chart-0.2.1-rc.1"},
        {"revision": 1, "updated": "", "status": "strange", "chart": "my-chart-0.1.0", "app_version": "1"},
    ]
    first, second = await make(out=json.dumps(lines)).history("aeterna", "prod")
    assert (first.revision, first.status, first.updated, first.chart.app_version) == (1, Status.UNKNOWN, None, "1")
    assert (second.chart.name, second.chart.version) == ("my-chart", "0.2.1-rc.1")
