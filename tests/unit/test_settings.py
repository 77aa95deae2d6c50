"""The configuration: what is accepted, and that every mistake names its place and the way out."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bot.errors import UserMistake
from bot.settings import Permission, Settings, duration, load

GOOD = """\
slack: {mode: socket, command: /aeterna}
targets:
  - name: prod
    channels: [C0OPS]
    namespace: aeterna
    release: aeterna
    chart: {name: aeterna, repo: "https://charts.example/aeterna"}
    values: [values.yaml]
roles:
  on-call: {users: [U0CAROL], permissions: [view, upgrade]}
"""
TOKENS = {"SLACK_BOT_TOKEN": "b-token", "SLACK_APP_TOKEN": "a-token"}


def write(tmp_path: Path, text: str = GOOD) -> Path:
    (tmp_path / "values.yaml").write_text("{}")
    file = tmp_path / "aeterna-bot.yaml"
    file.write_text(text)
    return file


def settings(tmp_path: Path, text: str = GOOD, **environment: str) -> Settings:
    return load(TOKENS | environment, file=write(tmp_path, text))


def test_a_good_file_is_loaded_with_paths_beside_it(tmp_path: Path) -> None:
    found = settings(tmp_path)
    prod = found.config.target("prod")
    assert prod is not None
    assert prod.values == (tmp_path / "values.yaml",)
    assert found.config.state == tmp_path / "state"
    assert found.database_url.get_secret_value() == f"sqlite+aiosqlite:///{tmp_path}/state/aeterna-bot.sqlite"
    assert found.config.roles["on-call"].permissions == (Permission.VIEW, Permission.UPGRADE)
    assert prod.server_workloads() == ("Deployment/aeterna",)


def test_the_shipped_components_are_there_and_can_be_changed_one_by_one(tmp_path: Path) -> None:
    changed = GOOD.replace("values: [values.yaml]", "components: {qdrant: {workloads: [StatefulSet/vectors]}}")
    prod = settings(tmp_path, changed).config.target("prod")
    assert prod is not None
    assert prod.components["qdrant"].workloads == ("StatefulSet/vectors",)
    assert prod.components["qdrant"].data, "what is not said stays as it was shipped"
    assert set(prod.components) >= {"server", "opal-server", "cedar-agent", "postgres"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("namespace: aeterna", "namespase: aeterna", r"yaml:5: targets.0.namespase: unknown key"),
        ("release: aeterna", "release: [x]", r"yaml:6: targets.0.release: "),
        ("mode: socket", "mode: pigeon", r"yaml:1: slack.mode: "),
        ("users: [U0CAROL]", "users: [U0CAROL], targets: 7", r"yaml:10: roles.on-call.targets"),
        ("permissions: [view, upgrade]", "permissions: [fly]", r"yaml:10: roles.on-call.permissions.0"),
        ("name: prod", "name: Prod!", r"yaml:3: targets.0.name"),
        ('repo: "https://charts.example/aeterna"', "oci: oci://x, path: y", r"name exactly one of repo, oci and path"),
        ("values: [values.yaml]", "values: [nowhere.yaml]", r"there is no file .*nowhere.yaml"),
        (
            "namespace: aeterna",
            "namespace: a\n    components: {x: {needs: [y]}}",
            r"x needs 'y', which is no component",
        ),
        ("namespace: aeterna", "namespace: a\n    components: {x: {needs: [x]}}", r"each other in a circle: x → x"),
        ("slack:", "slack:\n  mode: http\nslack:", r"'slack' is written twice"),
        ("name: prod", "name: &a prod\n    release: *a", r"aliases are not used"),
        ("targets:", "targets: [", r"not valid YAML"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(UserMistake, match=said):
        settings(tmp_path, GOOD.replace(old, new))


def test_two_targets_of_one_name_are_refused(tmp_path: Path) -> None:
    start, end = GOOD.index("  - name"), GOOD.index("roles:")
    with pytest.raises(UserMistake, match="two targets are called 'prod'"):
        settings(tmp_path, GOOD[:end] + GOOD[start:end] + GOOD[end:])


def test_a_missing_file_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="AETERNA_BOT_CONFIG"):
        load(TOKENS | {"AETERNA_BOT_CONFIG": str(tmp_path / "no.yaml")})


def test_missing_tokens_are_named_for_the_mode(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="SLACK_APP_TOKEN and SLACK_BOT_TOKEN are not set"):
        load({}, file=write(tmp_path))
    with pytest.raises(UserMistake, match="SLACK_SIGNING_SECRET is not set"):
        load(TOKENS, file=write(tmp_path, GOOD.replace("mode: socket", "mode: http")))


def test_a_mounted_secret_is_read_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-a-file\n")
    found = load({**TOKENS, "SLACK_BOT_TOKEN_FILE": str(tmp_path / "token")}, file=write(tmp_path))
    assert found.secrets.bot_token.get_secret_value() == "from-a-file"
    assert "from-a-file" not in repr(found)
    assert "a-token" not in repr(found)


def test_a_mounted_secret_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserMistake, match="SLACK_BOT_TOKEN_FILE points to"):
        load({**TOKENS, "SLACK_BOT_TOKEN_FILE": str(tmp_path / "gone")}, file=write(tmp_path))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("1h30m", 5400), ("1.5s", 1.5), ("2d", 172800)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert duration(text) == timedelta(seconds=seconds)


@given(st.text(max_size=6))
def test_what_is_no_duration_is_refused_with_its_form(text: str) -> None:
    assume(not re.fullmatch(r"(\d+(\.\d+)?[smhd])+", text.strip()))
    with pytest.raises(ValueError, match="write 90s, 15m, 4h or 1h30m"):
        duration(text)
