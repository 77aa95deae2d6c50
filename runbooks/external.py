"""A database, cache or vector store outside of the release, and the values by which a version of Aeterna's chart uses it.

The one place that knows these keys. Up to 0.5 the chart brings its own and takes another under ``….external``; from 0.6 on it
brings none. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from bot.diff.changelog import as_version
from bot.diff.values import ABSENT, lookup

Json = Any
Service = Literal["postgres", "redis", "qdrant"]
SERVICES: tuple[Service, ...] = get_args(Service)
TITLES: Mapping[str, str] = {"postgres": "PostgreSQL", "redis": "Redis", "qdrant": "Qdrant"}
PORTS: Mapping[str, int] = {"postgres": 5432, "redis": 6379, "qdrant": 6333}
COMPONENTS: Mapping[str, str] = {"postgres": "postgres", "redis": "dragonfly", "qdrant": "qdrant"}
"""What the bundled one is called among the target's components."""
COUNTED: Mapping[str, tuple[str, str]] = {
    "postgres": ("table", "row"),
    "redis": ("database", "key"),
    "qdrant": ("collection", "point"),
}
"""What a service keeps its data in, and what is counted there."""
_FIRST_WITHOUT = (0, 6)
"""From this version on nothing is bundled."""
_QDRANT_KEY = "api-key"  # up to 0.5 the chart's own word, which no value changes


@dataclass(frozen=True)
class Endpoint:
    """Where a service is and how one gets in: the name of a Secret and a key in it, never what stands there.

    ``secret`` empty: it asks for no password.
    """

    service: Service
    host: str
    port: int
    database: str = ""
    user: str = ""
    tls: bool = False
    secret: str = ""
    key: str = ""

    def __str__(self) -> str:
        return f"{TITLES[self.service]} at {self.host}:{self.port}"

    @classmethod
    def of(cls, facts: Mapping[str, Json]) -> Endpoint:
        """Back from a plan's facts."""
        names = {"secret": facts["secret_name"], "key": facts["secret_key"]}
        return cls(**{name: value for name, value in facts.items() if not name.startswith("secret_")}, **names)

    def as_facts(self) -> dict[str, Json]:
        """For a plan's facts: under names that say that no secret stands there, or they would be hidden."""
        facts = asdict(self)
        return {"secret_name": facts.pop("secret"), "secret_key": facts.pop("key"), **facts}

    def same_place(self, other: Endpoint) -> bool:
        """Whether both are one server's one database."""
        here, there = ((one.host, one.port, one.database) for one in (self, other))
        return here == there


def bundles(version: str) -> bool:
    """Whether this version of the chart can bring databases of its own. A pre-release of 0.6 cannot either."""
    found = as_version(version)
    return found is not None and (found.major, found.minor) < _FIRST_WITHOUT


def default_key(service: Service, version: str) -> str:
    """The key that the chart looks for in a Secret; empty ``version`` means one that is not known yet."""
    if service == "qdrant":
        return _QDRANT_KEY
    if version and bundles(version):
        return f"{service}-password"
    return "password"


def fixed_key(service: Service, version: str) -> str | None:
    """The only key that this version of the chart takes, where no value names another."""
    return _QDRANT_KEY if service == "qdrant" and bundles(version) else None


def needs_secret(service: Service, version: str) -> bool:
    """Whether the chart gives the server a password in any case; without a Secret it would make one up."""
    return service == "postgres" or (service == "redis" and bundles(version))


def takes_tls(service: Service, version: str) -> bool:
    """Whether a value of the chart says that the service is spoken to under TLS."""
    return service == "postgres" or (service == "redis" and not bundles(version))


def user_in_secret(service: Service, version: str) -> bool:
    """Whether the server's user comes from the key ``username`` of the same Secret, whatever the values say."""
    return service == "postgres" and bundles(version)


def switch_over(version: str, to: Endpoint) -> dict[str, Json]:
    """The values, by dotted path, with which this version of the chart uses ``to``. What is bundled stays on.

    But for PostgreSQL: the same value that turns the server to another one takes the bundled ``Cluster`` out of the manifest.
    """
    where = _where(to.service, version)
    values: dict[str, Json] = {f"{where}.host": to.host, f"{where}.port": to.port, f"{where}.existingSecret": to.secret}
    if (key := _key_at(to.service, version)) is not None and to.key:
        values[key] = to.key
    if to.service == "postgres":
        ssl = "require" if to.tls else "disable"
        values |= {f"{where}.database": to.database, f"{where}.username": to.user, f"{where}.sslMode": ssl}
    if to.service == "redis" and not bundles(version):
        values["redis.tls"] = to.tls
    return values | _turned(to.service, version)


def switch_off(version: str, service: Service) -> dict[str, Json]:
    """The values that stop what the chart still brings after the switch-over; empty where nothing is left to stop."""
    if not bundles(version):
        return {}
    return {
        "postgres": {},
        "redis": {"cache.dragonfly.enabled": False, "dragonfly.enabled": False},
        "qdrant": {"qdrant.enabled": False},
    }[service]


def host_at(service: Service, version: str) -> str:
    """The path of the value that names the host."""
    return f"{_where(service, version)}.host"


def is_bundled(values: Mapping[str, Json], version: str, service: Service) -> bool:
    """Whether the server uses the one that the chart brings; ``values`` with the chart's defaults beneath."""
    if not bundles(version):
        return False
    if service == "redis":
        return not _at(values, "cache.external.enabled")
    return bool(_at(values, "postgresql.bundled" if service == "postgres" else "vectorBackend.qdrant.bundled"))


def stands(values: Mapping[str, Json], version: str, service: Service) -> bool:
    """Whether the chart brings one, used or not."""
    if not bundles(version):
        return False
    if service == "postgres":
        return bool(_at(values, "postgresql.bundled") and _at(values, "postgresql.cloudnativepg.enabled"))
    return any(_at(values, path) for path in switch_off(version, service))


def uses(values: Mapping[str, Json], version: str, service: Service) -> bool:
    """Whether the release uses such a service at all: its vectors may be somewhere else."""
    if service != "qdrant":
        return True
    return str(_at(values, "vectorBackend.type" if bundles(version) else "vectorStore.type") or "qdrant") == "qdrant"


def in_use(values: Mapping[str, Json], version: str, service: Service, *, release: str) -> Endpoint | None:
    """What the server uses with these values; None where they name no host."""
    if is_bundled(values, version, service):
        return _bundled(values, service, full_name(values, release))
    where = _where(service, version)
    host = str(_at(values, f"{where}.host") or "")
    if not host:
        return None
    key = _at(values, _key_at(service, version) or "") or default_key(service, version)
    secret = str(_at(values, f"{where}.existingSecret") or "")
    return Endpoint(
        service,
        host,
        int(_at(values, f"{where}.port") or PORTS[service]),
        str(_at(values, f"{where}.database") or "aeterna") if service == "postgres" else "",
        str(_at(values, f"{where}.username") or "aeterna") if service == "postgres" else "",
        str(_at(values, f"{where}.sslMode")) in ("require", "verify-ca", "verify-full")
        or _at(values, "redis.tls") is True
        if service != "qdrant"
        else False,
        secret,
        str(key) if secret else "",
    )


def full_name(values: Mapping[str, Json], release: str) -> str:
    """What the chart calls its objects: ``aeterna.fullname`` of its helpers."""
    if override := _at(values, "aeterna.fullnameOverride"):
        return str(override)[:63].removesuffix("-")
    name = str(_at(values, "aeterna.nameOverride") or "aeterna")
    return (release if name in release else f"{release}-{name}")[:63].removesuffix("-")


def _bundled(values: Mapping[str, Json], service: Service, full: str) -> Endpoint:
    if service == "postgres":
        database = str(_at(values, "postgresql.cloudnativepg.bootstrap.initdb.database") or "aeterna")
        owner = str(_at(values, "postgresql.cloudnativepg.bootstrap.initdb.owner") or database)
        return Endpoint(service, f"{full}-cnpg-rw", 5432, database, owner, False, f"{full}-cnpg-app", "password")
    name = {"redis": "dragonfly", "qdrant": "qdrant"}[service]
    return Endpoint(service, f"{full}-{name}", PORTS[service])


def _where(service: Service, version: str) -> str:
    before = {"postgres": "postgresql.external", "redis": "cache.external", "qdrant": "vectorBackend.qdrant.external"}
    since = {"postgres": "postgresql", "redis": "redis", "qdrant": "vectorStore"}
    return (before if bundles(version) else since)[service]


def _key_at(service: Service, version: str) -> str | None:
    if bundles(version):
        return None if service == "qdrant" else f"{_where(service, version)}.secretKey"
    return f"{_where(service, version)}.{'apiKeyKey' if service == 'qdrant' else 'passwordKey'}"


def _turned(service: Service, version: str) -> dict[str, Json]:
    """What makes the server look outside at all."""
    before: Mapping[Service, dict[str, Json]] = {
        "postgres": {"postgresql.bundled": False},
        "redis": {"cache.external.enabled": True},
        "qdrant": {"vectorBackend.type": "qdrant", "vectorBackend.qdrant.bundled": False},
    }
    since: Mapping[Service, dict[str, Json]] = {"qdrant": {"vectorStore.type": "qdrant"}}
    return before[service] if bundles(version) else since.get(service, {})


def _at(values: Mapping[str, Json], path: str) -> Json:
    found = lookup(values, path.split("."))
    return None if found is ABSENT else found
