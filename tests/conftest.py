"""What tests share: the toolchain, one control plane and one PostgreSQL server for the whole run.

The first process of the run owns the shared services; with xdist the workers learn of them by `workerinput`. A
service is started when tests that need it were collected, so a run of unit tests starts nothing.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from dev.controlplane import Api, Running
from dev.services import Services
from dev.standins import Standins
from dev.toolchain import Toolchain, cache_directory

SERVICES = pytest.StashKey[Services]()
CONTROL_PLANE = ("dev.controlplane", "--standins")
POSTGRES = ("dev.postgres",)


def pytest_configure(config: pytest.Config) -> None:
    worker: dict[str, str] | None = getattr(config, "workerinput", None)
    if worker is None:
        config.stash[SERVICES] = Services.create(cache_directory() / "runs")
    else:
        config.stash[SERVICES] = Services(Path(worker["services"]), int(worker["services_owner"]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: much of a test is waiting for Helm and the cluster."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Tell an xdist worker where the services are."""
    services: Services = node.config.stash[SERVICES]  # type: ignore[attr-defined]
    node.workerinput |= {"services": str(services.directory), "services_owner": services.owner}  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.stash[SERVICES].close()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start early, in the background, what a collected test will ask for."""
    if session.config.option.collectonly:
        return
    services = session.config.stash[SERVICES]
    asked = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    if "control_plane" in asked:
        services.want(*CONTROL_PLANE)
    if "postgres_url" in asked:
        services.want(*POSTGRES)


@pytest.fixture(scope="session")
def toolchain() -> Toolchain:
    """The programs of the throwaway world; `toolchain.path("kubectl")`."""
    return Toolchain()


@pytest.fixture(scope="session")
def helm_program(toolchain: Toolchain) -> Path:
    """Helm 4."""
    return toolchain.path("helm")


@pytest.fixture(scope="session")
def control_plane(pytestconfig: pytest.Config) -> Running:
    """The run's one control plane, with the stand-ins behind every pod's ports; share it by namespaces."""
    return Running.from_json(pytestconfig.stash[SERVICES].get(*CONTROL_PLANE))


@pytest.fixture(scope="session")
def standins(control_plane: Running) -> Standins:
    """The stand-ins of the run's control plane; what they know is kept apart by namespace."""
    assert control_plane.standins is not None
    return Standins(control_plane.standins)


@pytest.fixture(scope="session")
def api(control_plane: Running) -> Api:
    """Plain calls with an administrator's rights, to prepare a test and to look at what it did."""
    return Api(control_plane.kubeconfig)


@pytest.fixture
def namespace(api: Api) -> Iterator[str]:
    """A namespace of the test's own; its deletion is asked for and not waited for."""
    name = f"test-{secrets.token_hex(5)}"
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    api.apply(document)
    # The controller would make it a moment later; until then no pod is admitted.
    api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}})
    yield name
    api.delete(document)


@pytest.fixture(scope="session")
def postgres_url(pytestconfig: pytest.Config) -> str:
    """SQLAlchemy's URL of the run's one PostgreSQL server (its database `postgres`: leave that alone)."""
    return str(json.loads(pytestconfig.stash[SERVICES].get(*POSTGRES))["url"])


@pytest.fixture
def postgresql_database(postgres_url: str) -> Iterator[str]:
    """SQLAlchemy's URL of an empty database of the test's own."""
    name = f"test_{secrets.token_hex(5)}"
    plain = postgres_url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield postgres_url.removesuffix("postgres") + name
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
