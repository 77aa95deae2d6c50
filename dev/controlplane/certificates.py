"""One throwaway authority, the certificates of each component, and kubeconfigs with client certificates."""

from __future__ import annotations

import base64
from pathlib import Path

import trustme
import yaml


class Authority:
    """The certificate authority of one control plane, its files in DIRECTORY (`ca.crt`, `NAME.crt`, `NAME.key`)."""

    def __init__(self, directory: Path, ca: trustme.CA) -> None:
        self._directory = directory
        self._ca = ca
        self.certificate = directory / "ca.crt"

    @classmethod
    def create(cls, directory: Path) -> Authority:
        """A new authority; its key is kept in DIRECTORY so that `user_kubeconfig` can use it later."""
        ca = trustme.CA(organization_name="throwaway-world")
        ca.cert_pem.write_to_path(directory / "ca.crt")
        key = directory / "ca.key"
        key.touch(mode=0o600)
        ca.private_key_pem.write_to_path(key)
        return cls(directory, ca)

    @classmethod
    def load(cls, directory: Path) -> Authority:
        """The authority that `create` left in DIRECTORY."""
        certificate, key = (directory / name for name in ("ca.crt", "ca.key"))
        return cls(directory, trustme.CA.from_pem(certificate.read_bytes(), key.read_bytes()))

    def server(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of something that listens on the loopback, written as files."""
        return self._write(name, self._ca.issue_cert("127.0.0.1", "localhost", common_name=name))

    def client(self, user: str, group: str | None) -> tuple[bytes, bytes]:
        """Certificate and key with which somebody is USER, a member of GROUP."""
        issued = self._issue_to(user, group)
        return issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes()

    def client_files(self, name: str, user: str, group: str | None) -> tuple[Path, Path]:
        """The same, written as files."""
        return self._write(name, self._issue_to(user, group))

    def _issue_to(self, user: str, group: str | None) -> trustme.LeafCert:
        """A name is given only because Go refuses certificates whose list of names is there but empty."""
        return self._ca.issue_cert("localhost", common_name=user, organization_name=group)

    def _write(self, name: str, issued: trustme.LeafCert) -> tuple[Path, Path]:
        certificate, key = self._directory / f"{name}.crt", self._directory / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(certificate)
        key.touch(mode=0o600)
        issued.private_key_pem.write_to_path(key)
        return certificate, key

    def kubeconfig(self, path: Path, server: str, user: str, group: str | None, namespace: str = "default") -> Path:
        """Write a kubeconfig for USER with everything inside it."""
        certificate, key = self.client(user, group)
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "throwaway",
            "contexts": [
                {"name": "throwaway", "context": {"cluster": "throwaway", "user": user, "namespace": namespace}}
            ],
            "clusters": [
                {
                    "name": "throwaway",
                    "cluster": {
                        "server": server,
                        "certificate-authority-data": _base64(self.certificate.read_bytes()),
                    },
                }
            ],
            "users": [
                {
                    "name": user,
                    "user": {"client-certificate-data": _base64(certificate), "client-key-data": _base64(key)},
                }
            ],
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path


def user_kubeconfig(
    admin: Path, path: Path, *, user: str, group: str | None = None, namespace: str = "default"
) -> Path:
    """Write to PATH a kubeconfig with which its bearer is USER (a member of GROUP) in the plane of ADMIN.

    ADMIN is `Running.kubeconfig`, in its original place: the authority lies beside it. Who that is decides RBAC;
    nobody is allowed anything before a test binds a role.
    """
    server = yaml.safe_load(admin.read_text())["clusters"][0]["cluster"]["server"]
    authority = Authority.load(admin.parent / "certificates")
    return authority.kubeconfig(path, server, user, group, namespace)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
