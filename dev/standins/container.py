"""The inside of a played container: ``container.py MODULE ARGUMENTS…`` runs MODULE as the program that was asked for.

The world has no name server: names lead where the variable ``STANDIN_HOSTS`` says (JSON, ``"name:port"`` to ``"ip:port"``), and
every other name is unknown. The program itself knows nothing of it. Imports nothing of ours, for it must start fast.
"""

from __future__ import annotations

import json
import os
import runpy
import socket
import sys
from typing import Any


def main() -> None:
    """Put the names in place and become the program."""
    hosts: dict[str, str] = json.loads(os.environ.pop("STANDIN_HOSTS", "{}"))
    real = socket.getaddrinfo

    def lookup(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        known = hosts.get(f"{host}:{port}")
        if known is not None:
            host, _, port = known.rpartition(":")
        try:
            return real(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)
        except socket.gaierror as error:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from error

    socket.getaddrinfo = lookup
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
