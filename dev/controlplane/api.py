"""The few API calls that setting up needs, on the standard library: a Kubernetes client takes a second to import."""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]
FIELD_MANAGER = "throwaway-world"


class ApiError(Exception):
    """The API server answered with an error; `status` is its HTTP status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


class Api:
    """Calls with the rights of a kubeconfig that has its certificates inside, as ours have."""

    def __init__(self, kubeconfig: Path) -> None:
        content = yaml.safe_load(kubeconfig.read_text())
        cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
        self._server = str(cluster["server"])
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(base64.b64decode(user["client-certificate-data"]))
            file.write(base64.b64decode(user["client-key-data"]))
            file.flush()
            context.load_cert_chain(file.name)
        # No proxy: whatever the environment says, this goes to the loopback.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    def call(self, method: str, path: str, body: Json | None = None, content_type: str = "application/json") -> Json:
        """One call; the answer as JSON. Raises ApiError, and OSError while nobody listens."""
        return dict(json.loads(self.raw(method, path, body, content_type) or "{}"))

    def raw(self, method: str, path: str, body: Json | None = None, content_type: str = "application/json") -> str:
        """One call; the answer as text (`/readyz`, logs)."""
        request = urllib.request.Request(
            self._server + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": content_type, "Accept": "application/json, */*"},
        )
        try:
            with self._opener.open(request, timeout=30) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                raise ApiError(error.code, error.read().decode(errors="replace")[:2000]) from None

    def get(self, path: str) -> Json:
        """The object or list at PATH."""
        return self.call("GET", path)

    def apply(self, document: Mapping[str, Any], *, status: bool = False) -> Json:
        """Server-side apply of a whole object; with STATUS, of its status too (nodes)."""
        path = object_path(document)
        query = f"?fieldManager={FIELD_MANAGER}&force=true"
        done = self.call("PATCH", path + query, dict(document), "application/apply-patch+yaml")
        if status:
            done = self.call("PATCH", f"{path}/status{query}", dict(document), "application/apply-patch+yaml")
        return done

    def create(self, document: Mapping[str, Any]) -> Json:
        """Create an object (its name may be generated)."""
        return self.call("POST", object_path(document).rpartition("/")[0], dict(document))

    def delete(self, document: Mapping[str, Any]) -> None:
        """Ask for an object's deletion; does not wait, and an absent one is fine."""
        try:
            self.call("DELETE", object_path(document))
        except ApiError as error:
            if error.status != 404:
                raise


# Plurals that are not the kind in lower case with an `s`, or kinds that belong to no namespace.
_PLURALS = {
    "StorageClass": "storageclasses",
    "NetworkPolicy": "networkpolicies",
    "Ingress": "ingresses",
    "Logs": "logs",
}
_CLUSTER_WIDE = {
    "ClusterPortForward",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "Namespace",
    "Node",
    "PersistentVolume",
    "StorageClass",
}


def object_path(document: Mapping[str, Any]) -> str:
    """The API path of an object, by its apiVersion, kind, namespace (`default` if none) and name."""
    version, kind, metadata = document["apiVersion"], document["kind"], document["metadata"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    space = "" if kind in _CLUSTER_WIDE else f"/namespaces/{metadata.get('namespace', 'default')}"
    return f"{root}{space}/{_PLURALS.get(kind, kind.lower() + 's')}/{metadata.get('name', '')}"
