"""The environment that Helm gets: its own directories and what it needs to reach the cluster, nothing else of
ours.

No token of Slack's and no database address ever reaches a child process. A kubeconfig that starts a
credentials program may need more (``AWS_PROFILE``): name such variables in ``passed_on``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_PASSED_ON = (
    "PATH",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "KUBERNETES_SERVICE_HOST",  # without these two there is no in-cluster configuration
    "KUBERNETES_SERVICE_PORT",
)


@dataclass(frozen=True)
class HelmSettings:
    """Which Helm, and as whom it reaches which cluster.

    ``program`` a path, or a name to be found on PATH. ``home`` a directory of its own, made if missing (mode
    0700). ``kubeconfig`` None means the in-cluster account. ``context`` None means the kubeconfig's own.
    ``as_user`` and ``as_groups`` impersonate. ``passed_on`` names further variables of our environment that
    Helm may see.
    """

    program: Path | str
    home: Path
    kubeconfig: Path | None = None
    context: str | None = None
    as_user: str | None = None
    as_groups: tuple[str, ...] = ()
    passed_on: tuple[str, ...] = ()

    def cluster_flags(self) -> list[str]:
        """The flags that choose the cluster and the identity."""
        flags = [f"--kube-context={self.context}"] if self.context else []
        flags += [f"--kube-as-user={self.as_user}"] if self.as_user else []
        return flags + [f"--kube-as-group={group}" for group in self.as_groups]


def helm_environment(
    settings: HelmSettings, environ: Mapping[str, str], *, passed_on: Sequence[str] = _PASSED_ON
) -> dict[str, str]:
    """The whole environment of a run of Helm."""
    home = settings.home.absolute()
    wanted = [*passed_on, *settings.passed_on]
    own = {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_DATA_HOME": str(home / "data"),
        "HELM_CACHE_HOME": str(home / "cache" / "helm"),
        "HELM_CONFIG_HOME": str(home / "config" / "helm"),
        "HELM_DATA_HOME": str(home / "data" / "helm"),
        "HELM_DRIVER": "secret",
        "TMPDIR": str(home / "tmp"),
        "TZ": "UTC",
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
    }
    if settings.kubeconfig is not None:
        own["KUBECONFIG"] = str(settings.kubeconfig.absolute())
    return {name: environ[name] for name in wanted if name in environ} | own


def make_home(settings: HelmSettings) -> None:
    """Make the directories that `helm_environment` names."""
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    for part in ("cache/helm", "config/helm", "data/helm", "tmp"):
        (settings.home / part).mkdir(mode=0o700, parents=True, exist_ok=True)
