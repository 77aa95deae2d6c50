"""Installs the dev chart with the real Helm, as somebody did long before the bot came."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RELEASE = "aeterna"


class HelmFailed(Exception):
    """What Helm said on stderr."""


async def helm(program: Path, kubeconfig: Path, *arguments: str) -> str:
    """Runs Helm with a home of its own; its stdout. Raises ``HelmFailed``."""
    with tempfile.TemporaryDirectory(prefix="helm-home-") as home:
        process = await asyncio.create_subprocess_exec(
            str(program),
            *arguments,
            env={"PATH": os.environ["PATH"], "HOME": home, "KUBECONFIG": str(kubeconfig)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, error = await process.communicate()
    if process.returncode != 0:
        raise HelmFailed(error.decode(errors="replace"))
    return out.decode()


async def install(
    program: Path,
    kubeconfig: Path,
    *,
    namespace: str,
    repository: str,
    version: str,
    values: Mapping[str, Any] | None = None,
    wait: bool = True,
) -> None:
    """``helm upgrade --install`` of ``aeterna`` at ``version``; with ``wait`` until everything is ready."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(dict(values or {}), file)
        file.flush()
        await helm(
            program,
            kubeconfig,
            "upgrade",
            RELEASE,
            RELEASE,
            "--install",
            "--create-namespace",
            f"--namespace={namespace}",
            f"--repo={repository}",
            f"--version={version}",
            f"--values={file.name}",
            *(["--wait", "--timeout=120s"] if wait else []),
        )


async def status(program: Path, kubeconfig: Path, *, namespace: str) -> dict[str, Any]:
    """The newest revision, as ``helm list`` shows it: ``revision``, ``status``, ``chart``, ``app_version``."""
    out = await helm(program, kubeconfig, "list", f"--namespace={namespace}", "--output=json")
    found: dict[str, Any] = next(row for row in json.loads(out) if row["name"] == RELEASE)
    return found
