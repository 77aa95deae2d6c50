"""Writes the bot's configuration for a throwaway world, and the environment that goes with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dev.slack import DEFAULT_USERS, SlackWorkspace

_USERS = {user.name: user.id for user in DEFAULT_USERS}
ROLES: dict[str, dict[str, Any]] = {
    "release-engineers": {
        "users": [_USERS["alice"], _USERS["bob"]],
        "permissions": ["view", "plan", "upgrade", "rollback", "approve"],
    },
    "on-call": {
        "users": [_USERS["carol"]],
        "permissions": ["view", "plan", "upgrade", "rollback", "approve", "emergency", "unlock"],
    },
}
"""alice and bob release, carol is on call, mallory may do nothing."""


def target(
    *,
    name: str = "prod",
    namespace: str,
    repository: str,
    channels: Sequence[str] = ("C0OPS",),
    **more: Any,
) -> dict[str, Any]:
    """One target: the release ``aeterna`` of the dev chart in ``namespace``. ``more`` goes in as it is."""
    return {
        "name": name,
        "channels": list(channels),
        "incident_channels": ["inc-*"],
        "namespace": namespace,
        "release": "aeterna",
        "chart": {"name": "aeterna", "repo": repository},
        **more,
    }


PROBE_IMAGE = "registry.example/aeterna-bot:0.1.0"
"""Nobody pulls it: a stand-in runs what is in it."""
LIGHT = {"database": {"kind": "none"}, "vector_store": {"kind": "none"}}
"""What a target says when its release is installed with the chart's light values."""


def write(
    directory: Path,
    *,
    targets: Sequence[Mapping[str, Any]],
    helm: Path,
    engine: Mapping[str, Any] | None = None,
    slack: Mapping[str, Any] | None = None,
    roles: Mapping[str, Any] = ROLES,
    **more: Any,
) -> Path:
    """The configuration file, in ``directory``; the bot's state goes beside it."""
    content = {
        # the port is for health only; a free one, so that many bots can run here
        "slack": {"host": "127.0.0.1", "port": 0, **(slack or {})},
        "targets": [dict(one) for one in targets],
        "roles": dict(roles),
        "helm": {"program": str(helm)},
        "engine": dict(engine or {}),
        "probe": {"image": PROBE_IMAGE},
        **more,
    }
    file = directory / "aeterna-bot.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return file


def environment(
    *, slack: SlackWorkspace, kubeconfig: Path, file: Path, database_url: str | None = None
) -> dict[str, str]:
    """The variables under which the bot finds all of it."""
    found = {
        "AETERNA_BOT_CONFIG": str(file),
        "SLACK_BOT_TOKEN": slack.bot_token,
        "SLACK_APP_TOKEN": slack.app_token,
        "SLACK_SIGNING_SECRET": slack.signing_secret,
        "SLACK_API_URL": slack.api_url,
        "KUBECONFIG": str(kubeconfig),
    }
    return found | ({"DATABASE_URL": database_url} if database_url else {})
