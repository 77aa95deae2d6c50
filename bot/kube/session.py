"""One authenticated HTTP session with an API server: credentials, TLS, impersonation, JSON by path.

Kubeconfigs (contexts, exec plugins, OIDC) and in-cluster tokens are read by the ``kubernetes`` package,
imported in a thread at connect time because it blocks for most of a second; the calls themselves are plain
aiohttp. No retries here: whoever asks knows whether asking again is right.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import json
import os
import ssl
import sys
import types
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from bot.errors import Refused, UserMistake
from bot.kube.failures import Call, failure_of, lost_connection
from bot.kube.objects import Json

SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
USER_AGENT = "aeterna-bot"
JSON = "application/json"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Session:
    """Requests to one API server as one identity. Close it when done."""

    def __init__(self, *, config: Any, loader: Any, in_cluster: bool, headers: Iterable[tuple[str, str]]) -> None:
        self._config = config
        self._loader = loader
        self._headers = list(headers)
        self._context = _tls(config)
        self.in_cluster = in_cluster
        self.server = str(config.host).rstrip("/")
        loopback = URL(self.server).host in _LOOPBACK
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._context, limit=100),
            headers={"User-Agent": USER_AGENT},
            # As Go's clients do: a proxy of the environment never stands between us and this very machine.
            trust_env=not config.proxy and not loopback,
        )

    @classmethod
    async def open(
        cls,
        *,
        kubeconfig: Path | None,
        context: str | None,
        as_user: str | None = None,
        as_groups: Sequence[str] = (),
    ) -> Session:
        """Read the credentials and make the session; nothing is sent yet.

        Without ``kubeconfig``: the pod's ServiceAccount when there is one, else ``~/.kube/config``.
        Raises UserMistake for a missing file or context and Refused when a credential plugin fails.
        """
        headers = [("Impersonate-User", as_user)] if as_user else []
        headers += [("Impersonate-Group", group) for group in as_groups]
        in_cluster = kubeconfig is None and context is None and _is_pod()
        aio = await asyncio.to_thread(_configuration_package)
        config = aio.Configuration()
        loader = None
        if in_cluster:
            importlib.import_module("kubernetes.aio.config").load_incluster_config(client_configuration=config)
        else:
            loader = await _load_file(aio, config, kubeconfig or Path.home() / ".kube" / "config", context)
        try:
            return cls(config=config, loader=loader, in_cluster=in_cluster, headers=headers)
        finally:
            # The package writes inline keys into temporary files for OpenSSL; they are read by now.
            aio._cleanup_temp_files()

    async def close(self) -> None:
        """Close every connection; open watches end."""
        await self._http.close()

    async def headers(self) -> CIMultiDict[str]:
        """What every call carries: the bearer token, renewed when it has run out, and the impersonated
        user.
        """
        await self._renew()
        token = await self._config.get_api_key_with_prefix("BearerToken")
        return CIMultiDict([*self._headers, *([("Authorization", token)] if token else [])])

    async def json(
        self,
        call: Call,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = JSON,
        accept: str = JSON,
        seconds: float = 30.0,
        dry_run: bool = False,
        on_warning: Callable[[str], None] | None = None,
    ) -> Json:
        """Send one request and give the answer's JSON object; any other answer raises by meaning."""
        text = await self.text(
            call,
            method,
            path,
            params=params,
            body=body,
            content_type=content_type,
            accept=accept,
            seconds=seconds,
            dry_run=dry_run,
            on_warning=on_warning,
        )
        answer = json.loads(text) if text else {}
        return answer if isinstance(answer, dict) else {}

    async def text(
        self,
        call: Call,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = JSON,
        accept: str = "*/*",
        seconds: float = 30.0,
        dry_run: bool = False,
        on_warning: Callable[[str], None] | None = None,
    ) -> str:
        """As ``json``, but the answer's text."""
        async with self.response(
            call,
            method,
            path,
            params=params,
            data=None if body is None else json.dumps(body),
            headers={"Accept": accept, "Content-Type": content_type},
            limits=aiohttp.ClientTimeout(total=seconds),
            dry_run=dry_run,
        ) as answer:
            if on_warning is not None:
                for warning in answer.headers.getall("Warning", []):
                    on_warning(_warning_text(warning))
            return await answer.text(errors="replace")

    @asynccontextmanager
    async def response(
        self,
        call: Call,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None,
        limits: aiohttp.ClientTimeout,
        data: str | None = None,
        headers: Mapping[str, str] | None = None,
        dry_run: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """An open answer in 2xx, for whoever reads it as a stream."""
        sent = await self.headers()
        sent.update(headers or {})
        try:
            async with self._http.request(
                method,
                self.server + path,
                params=params,
                data=data,
                headers=sent,
                timeout=limits,
                **self._route(),
            ) as answer:
                if answer.status >= 300:
                    said = await answer.text(errors="replace")
                    raise failure_of(
                        call,
                        answer.status,
                        said,
                        retry_after=answer.headers.get("Retry-After"),
                        dry_run=dry_run,
                    )
                yield answer
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise lost_connection(call, self.server, error, sent=False) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise lost_connection(call, self.server, error, sent=not dry_run) from error

    async def websocket(self, call: Call, path: str, *, protocol: str) -> aiohttp.ClientWebSocketResponse:
        """An open WebSocket with the API server (port-forward). The caller closes it."""
        try:
            return await self._http.ws_connect(
                self.server + path,
                protocols=(protocol,),
                headers=await self.headers(),
                max_msg_size=0,
                proxy=self._config.proxy,
            )
        except aiohttp.WSServerHandshakeError as error:
            # The handshake's answer has no body for us: its status has to speak.
            raise failure_of(call, error.status, "") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise lost_connection(call, self.server, error, sent=False) from error

    def _route(self) -> dict[str, Any]:
        route: dict[str, Any] = {}
        if self._config.proxy:
            route["proxy"] = self._config.proxy
        if self._config.tls_server_name:
            route["server_hostname"] = self._config.tls_server_name
        return route

    async def _renew(self) -> None:
        """Run the credential plugin again when what it gave has run out (the package leaves that to us)."""
        if self._loader is None or not hasattr(self._loader, "exec_plugin_expiry"):
            return
        await self._loader.load_from_exec_plugin()
        self._config.api_key["BearerToken"] = self._loader.token


def _configuration_package() -> Any:
    """The part of the ``kubernetes`` package that reads kubeconfigs, and nothing else of it.

    The package's own ``__init__`` imports all of its synchronous half (requests, urllib3, oauthlib), which costs
    another 9 MiB and half a second and is never used here; while we import, an empty module stands in its place.
    """
    wanted = "kubernetes.aio.config.kube_config"
    spec = None if {wanted, "kubernetes"} & sys.modules.keys() else importlib.util.find_spec("kubernetes")
    if spec is None or not spec.submodule_search_locations:
        return importlib.import_module(wanted)
    home = spec.submodule_search_locations[0]
    empty = {"kubernetes": home, "kubernetes.aio": str(Path(home) / "aio")}
    for name, path in empty.items():
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [path]
    try:
        return importlib.import_module(wanted)
    finally:
        for name in empty:
            sys.modules.pop(name, None)


async def _load_file(aio: Any, config: Any, path: Path, context: str | None) -> Any:
    """Load ``path`` into ``config``; gives the loader, which can renew credentials."""
    failure = importlib.import_module("kubernetes.aio.config").ConfigException
    files = _existing(path)
    if not files:
        raise UserMistake(
            f"There is no kubeconfig at {path}.",
            way_out="Set KUBECONFIG, or run inside the cluster with a ServiceAccount.",
        )
    try:
        loader = await aio.load_kube_config(
            config_file=os.pathsep.join(files),
            context=context,
            client_configuration=config,
            persist_config=False,
        )
        user = loader._user
        if user is not None and "exec" in user and not ({"token", "cert_file"} & loader.__dict__.keys()):
            # The package only logs a plugin's failure; run it once more to learn why.
            await aio.ExecProvider(user["exec"]).run()
    except failure as error:
        raise UserMistake(f"The kubeconfig {path} cannot be used: {error}.", way_out=_contexts(aio, files)) from error
    except OSError as error:
        raise Refused(f"The credential plugin of {path} cannot be run: {error}.") from error
    return loader


def _is_pod() -> bool:
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and SERVICE_ACCOUNT_TOKEN.is_file()


def _existing(path: Path) -> list[str]:
    """The files of a KUBECONFIG, which may name several."""
    return [part for part in str(path).split(os.pathsep) if part and Path(part).expanduser().is_file()]


def _contexts(aio: Any, files: Sequence[str]) -> str:
    config = aio.KubeConfigMerger(os.pathsep.join(files)).config
    value = config.value if config is not None else {}
    names = [str(entry["name"]) for entry in value.get("contexts") or []]
    return f"Its contexts are: {', '.join(names)}." if names else ""


def _tls(config: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=config.ssl_ca_cert, cadata=config.ca_cert_data)
    # Many clusters' own CAs lack the extensions that Python 3.13 demands; kubectl does not ask for them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if config.cert_file:
        context.load_cert_chain(config.cert_file, keyfile=config.key_file)
    if not config.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _warning_text(header: str) -> str:
    """The text of ``299 - "text"``."""
    start, end = header.find('"'), header.rfind('"')
    return header[start + 1 : end].replace('\\"', '"') if 0 <= start < end else header
