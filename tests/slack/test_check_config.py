"""``aeterna-bot check-config`` on real parts: all in order, and one thing wrong at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.checkup import Line, check
from bot.settings import load
from dev import configuration, release
from dev.charts import GOOD_VERSIONS, ChartRepository, light_values
from dev.controlplane import Running, user_kubeconfig
from dev.slack import SlackWorkspace


@pytest.fixture
async def charts() -> AsyncIterator[ChartRepository]:
    async with ChartRepository.running(versions=GOOD_VERSIONS) as repository:
        yield repository


class Setting:
    """A configuration that is in order, to be spoiled in one place."""

    def __init__(
        self, slack: SlackWorkspace, cluster: Running, helm: Path, directory: Path, target: dict[str, Any]
    ) -> None:
        self.slack, self.cluster, self.helm, self.directory, self.target = slack, cluster, helm, directory, target
        self.roles = configuration.ROLES
        self.environment: dict[str, str] = {}

    async def check(self) -> dict[str, Line]:
        file = configuration.write(self.directory, targets=[self.target], helm=self.helm, roles=self.roles)
        known = configuration.environment(slack=self.slack, kubeconfig=self.cluster.kubeconfig, file=file)
        return {line.subject: line async for line in check(load(known | self.environment))}


@pytest.fixture
def setting(
    slack: SlackWorkspace,
    control_plane: Running,
    helm_program: Path,
    tmp_path: Path,
    namespace: str,
    charts: ChartRepository,
) -> Setting:
    target = configuration.target(namespace=namespace, repository=charts.url)
    return Setting(slack, control_plane, helm_program, tmp_path, target)


def wrong(lines: dict[str, Line]) -> set[str]:
    return {subject for subject, line in lines.items() if not line.good}


async def test_all_in_order_says_what_was_found(setting: Setting, charts: ChartRepository, namespace: str) -> None:
    await release.install(
        setting.helm,
        setting.cluster.kubeconfig,
        namespace=namespace,
        repository=charts.url,
        version="0.2.0",
        values=light_values(),
        wait=False,
    )
    lines = await setting.check()
    assert wrong(lines) == set()
    assert lines["prod: release"].text == "aeterna is at 0.2.0, revision 1, deployed"
    assert lines["prod: channel C0OPS"].text == "#ops"
    assert "the newest is 0.3.0" in lines["prod: chart"].text


async def test_a_release_that_is_not_there_is_named(setting: Setting) -> None:
    lines = await setting.check()
    assert wrong(lines) == {"prod: release"}


async def test_wrong_tokens_are_told_apart(setting: Setting) -> None:
    setting.environment = {"SLACK_BOT_TOKEN": "xoxb-wrong-token", "SLACK_APP_TOKEN": setting.slack.bot_token}
    lines = await setting.check()
    assert {"Slack bot token", "Slack app token"} <= wrong(lines)
    assert "xoxb-wrong-token" not in str(lines)


async def test_a_channel_without_the_bot_says_invite(setting: Setting) -> None:
    setting.target["channels"] = ["C0NOBOT"]
    line = (await setting.check())["prod: channel C0NOBOT"]
    assert not line.good
    assert "/invite" in line.way_out


async def test_missing_rights_name_the_rule(setting: Setting, tmp_path: Path) -> None:
    weak = user_kubeconfig(setting.cluster.kubeconfig, tmp_path / "nobody.kubeconfig", user="nobody")
    setting.environment = {"KUBECONFIG": str(weak)}
    lines = await setting.check()
    assert not lines["prod: may list secrets"].good
    assert "verbs [list]" in lines["prod: may list secrets"].way_out


async def test_an_api_server_that_is_not_there_hides_nothing_else(setting: Setting, tmp_path: Path) -> None:
    gone = tmp_path / "gone.kubeconfig"
    gone.write_text(setting.cluster.kubeconfig.read_text().replace(setting.cluster.server, "https://127.0.0.1:1"))
    setting.environment = {"KUBECONFIG": str(gone)}
    lines = await setting.check()
    assert wrong(lines) == {"prod: cluster"}
    assert lines["prod: chart"].good


async def test_a_missing_repository_and_a_missing_helm_are_named(setting: Setting, charts: ChartRepository) -> None:
    await charts.offline()
    setting.helm = Path("/nowhere/helm")
    assert {"prod: chart", "prod: Helm"} <= wrong(await setting.check())
    await charts.online()


async def test_a_configuration_without_roles_lets_nobody_in_and_says_so(setting: Setting) -> None:
    setting.roles = {}
    line = (await setting.check())["roles"]
    assert not line.good
    assert line.way_out
