"""A throwaway PostgreSQL server on the loopback; `python -m dev.postgres` is the same as a process of its own.

PostgreSQL refuses to run as root; for root it runs as the unix user `nobody`, and where that user cannot reach the
programs (a wheel under root's home) it gets a copy of them for as long as it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psycopg

from dev.controlplane.children import Children
from dev.controlplane.lifetime import Lifetime
from dev.controlplane.plane import ProgramFinder
from dev.controlplane.ports import free_port
from dev.throwaway import ThrowawayServer
from dev.toolchain import Toolchain, ToolError

START_SECONDS = 60.0
WITH_PASSWORD = "asked_for_password"
"""A role of every server: whoever is in it has to bring a password, everybody else is trusted."""


class PostgresError(Exception):
    """The server did not come up; the text ends with its last lines."""


class PostgresServer(ThrowawayServer[str]):
    """One server as a context manager, which gives the SQLAlchemy URL of its database `postgres`.

    Nothing is synchronised to disk, and whoever reaches the port is who they say they are, but for ``WITH_PASSWORD``.
    Enter it on the main thread.
    """

    def __init__(self, toolchain: ProgramFinder) -> None:
        super().__init__("postgres")
        self._initdb = toolchain.path("initdb").resolve()
        self._postgres = toolchain.path("postgres").resolve()

    def _start(self, directory: Path, children: Children) -> str:
        data, port, user = directory / "data", free_port(), None
        data.mkdir()
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            user = nobody.pw_uid
            directory.chmod(0o711)
            os.chown(data, nobody.pw_uid, nobody.pw_gid)
            self._make_reachable(directory, user)
        command: list[str | Path] = [
            self._initdb,
            "-D",
            data,
            "-U",
            "postgres",
            "--auth=trust",
            "--no-sync",
            "--no-instructions",
        ]
        made = subprocess.run(
            [*command, "--encoding=UTF8", "--locale=C"],
            user=user,
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise PostgresError(f"initdb ended with {made.returncode}:\n{made.stderr[-1000:]}")
        rules = data / "pg_hba.conf"
        rules.write_text(f"host all +{WITH_PASSWORD} all scram-sha-256\n{rules.read_text()}")
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": "300",
            "shared_buffers": "32MB",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        children.start("postgres", [self._postgres, "-D", data, "-p", str(port), *options], user=user)
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        self._wait(url, children)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {WITH_PASSWORD} NOLOGIN")
        return url.replace("postgresql://", "postgresql+psycopg://")

    def _make_reachable(self, directory: Path, user: int) -> None:
        """Copy the installation into DIRECTORY if USER may not run it where it is."""
        try:
            subprocess.run([self._initdb, "--version"], user=user, capture_output=True, check=True)
        except (PermissionError, subprocess.CalledProcessError):
            copy = directory / "installation"
            shutil.copytree(self._initdb.parent.parent, copy, symlinks=True)
            self._initdb, self._postgres = copy / "bin" / "initdb", copy / "bin" / "postgres"

    def _wait(self, url: str, children: Children) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(url, connect_timeout=2).close()
            except psycopg.OperationalError as error:
                if ended := children.ended():
                    raise PostgresError(ended) from error
                if time.monotonic() > deadline:
                    raise PostgresError(f"no answer in {START_SECONDS:.0f} s: {error}") from error
                time.sleep(0.03)
            else:
                return


def main() -> int:
    """Start a server, print `{"url": …}`, and stay until told to end."""
    parser = argparse.ArgumentParser(prog="python -m dev.postgres", description=main.__doc__)
    parser.add_argument("--follow", type=int, default=None, metavar="PID")
    lifetime = Lifetime(parser.parse_args().follow)
    try:
        server = PostgresServer(Toolchain())
        with server as url:
            print(json.dumps({"url": url}), flush=True)
            trouble = lifetime.stay(server.ended)
    except (PostgresError, ToolError) as error:
        trouble = str(error)
    if trouble is not None:
        print(f"postgres: {trouble}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
