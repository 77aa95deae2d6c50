"""The configuration file and the environment, validated before anything starts.

One YAML file says what the bot looks after and who may do what; the environment holds the secrets and the addresses.
Nothing is read at import; ``load`` is called once, by the composition root.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator

from bot import components, yamlfile
from bot.components import Component
from bot.errors import UserMistake

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def duration(value: Any) -> timedelta:
    """``90s``, ``15m``, ``4h``, ``1h30m`` as a timedelta. Raises ``ValueError`` with the right form."""
    if isinstance(value, timedelta):
        return value
    text = str(value).strip()
    if not re.fullmatch(r"(\d+(\.\d+)?[smhd])+", text):
        raise ValueError(f"{text!r} is not a duration; write 90s, 15m, 4h or 1h30m")
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    return sum((timedelta(**{_UNITS[unit]: float(number)}) for number, unit in parts), timedelta())


Duration = Annotated[timedelta, BeforeValidator(duration)]


class Permission(StrEnum):
    """What a role may allow (design: who may do what)."""

    VIEW = "view"
    PLAN = "plan"
    UPGRADE = "upgrade"
    ROLLBACK = "rollback"
    EMERGENCY = "emergency"
    APPROVE = "approve"
    OVERRIDE = "override"
    UNLOCK = "unlock"
    AUDIT = "audit"
    ADMIN = "admin"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SlackSection(_Section):
    """How the bot talks to Slack. ``port`` is used in HTTP mode only."""

    mode: Literal["socket", "http"] = "socket"
    command: Annotated[str, Field(pattern=r"^/[a-z0-9_-]{1,31}$")] = "/aeterna"
    host: str = "0.0.0.0"  # noqa: S104 - inside a pod every interface is the pod's own
    port: Annotated[int, Field(ge=0, le=65535)] = 3000
    update_interval: Duration = timedelta(
        seconds=1.5
    )  # between two edits of one card; Slack's tier 3 allows 50 a minute


class ClusterSection(_Section):
    """Which cluster: a context of the kubeconfig, or (``null``) the current one, or in-cluster."""

    context: str | None = None


class ChartSection(_Section):
    """Where the chart comes from: a repository and a name, an OCI reference, or a folder."""

    name: str | None = None
    repo: str | None = None
    oci: str | None = None
    path: Path | None = None
    release_notes: Annotated[str, Field(pattern=r"^https?://[^\s{}]+\{version\}[^\s{}]*$")] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> ChartSection:
        if sum(value is not None for value in (self.repo, self.oci, self.path)) != 1:
            raise ValueError("name exactly one of repo, oci and path")
        if self.repo is not None and not self.name:
            raise ValueError("a chart from a repository needs its name")
        return self


class HealthProbe(_Section):
    """Where a server pod says that it is ready, and its version."""

    port: int = 8080
    path: str = "/ready"
    version_path: str = "/health"


class MetricsProbe(_Section):
    """Metrics that must be present; those in ``moving`` must also have grown after the memory round trip."""

    port: int = 9090
    path: str = "/metrics"
    require: tuple[str, ...] = ("http_requests_total",)
    moving: tuple[str, ...] = ("http_requests_total",)


class MemoryProbe(_Section):
    """The memory round trip (add, search, delete). Headers go with each call; values are not secrets here."""

    layer: Literal["agent", "user", "session", "project", "team", "org", "company"] = "project"
    headers: dict[str, str] = Field(default_factory=dict)


class VerifySection(_Section):
    """What proves that the release is healthy. A part set to null is not looked at, and the card says so."""

    health: HealthProbe | None = HealthProbe()
    metrics: MetricsProbe | None = MetricsProbe()
    memory: MemoryProbe | None = MemoryProbe()


class DatabaseSection(_Section):
    """How the database is backed up before an upgrade. ``none`` says openly that the target has no database."""

    kind: Literal["cnpg", "none"] = "cnpg"
    cluster: str | None = None  # the CloudNativePG Cluster; null: the only one of the release
    method: Literal["barmanObjectStore", "volumeSnapshot", "plugin"] = "barmanObjectStore"
    timeout: Duration = timedelta(minutes=30)


class VectorStoreSection(_Section):
    """How the vector store is backed up before an upgrade. ``none`` says openly that the target has none."""

    kind: Literal["qdrant", "none"] = "qdrant"
    service: str | None = None  # null: RELEASE-qdrant
    port: int = 6333


class ProbeSection(_Section):
    """The Job that looks at a database from inside the cluster: its image, what pulls it, and its time.

    Without an image nothing is looked at that way, and what needs it is refused. The bot's own image has what it takes.
    """

    image: Annotated[str, Field(min_length=1)] | None = None
    pull_secrets: tuple[str, ...] = ()  # names of Secrets in the target's namespace
    deadline: Duration = timedelta(minutes=2)  # for the whole Job, the pull of the image included


class Target(_Section):
    """A release in a cluster that the bot looks after."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
    channels: tuple[str, ...] = ()  # channel ids in which the target is the default one
    incident_channels: tuple[str, ...] = ()  # name patterns, ``inc-*``
    cluster: ClusterSection = ClusterSection()
    namespace: str
    release: str
    chart: ChartSection
    values: tuple[Path, ...] = ()  # files laid over what the release has, in order
    server_side_apply: Literal["auto", "true", "false"] = "auto"  # Helm 4's apply mode; auto keeps the release's
    database: DatabaseSection = DatabaseSection()
    vector_store: VectorStoreSection = VectorStoreSection()
    verify: VerifySection = VerifySection()
    probe: ProbeSection | None = None  # null: that of the whole file
    components: dict[str, Component] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _ship_components(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            data = {**data, "components": components.with_shipped(data.get("components"))}
        return data

    @model_validator(mode="after")
    def _needs(self) -> Target:
        components.check_needs(self.components)
        return self

    def server_workloads(self) -> tuple[str, ...]:
        """``Kind/name`` of the workloads whose pods answer the verify probes."""
        return tuple(
            name.format(release=self.release)
            for component in self.components.values()
            if component.server
            for name in component.workloads
        )


class Role(_Section):
    """Gives ``permissions`` on ``targets`` (names or patterns) to Slack users and user groups, by id."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    permissions: tuple[Permission, ...]
    targets: tuple[str, ...] = ("*",)

    def covers(self, target: str) -> bool:
        return any(fnmatchcase(target, pattern) for pattern in self.targets)


class EngineSection(_Section):
    """How runs are carried. A crashed replica's runs are taken over after ``lease``."""

    lease: Duration = timedelta(seconds=15)
    grace: Duration = timedelta(seconds=25)  # how long SIGTERM waits for a step before it hands over
    max_attempts: Annotated[int, Field(ge=1)] = 5  # takeovers of one run before a person is asked
    step_timeouts: dict[str, Duration] = Field(default_factory=dict)  # by step kind, over the runbook's default
    check_timeout: Duration = timedelta(minutes=3)  # after which a plan goes on without a check, and is blocked by that
    keep_runs: Duration = timedelta(days=180)


class ApprovalsSection(_Section):
    """What holds where a runbook does not say: how long a plan waits for approval before it expires."""

    expires: Duration = timedelta(hours=4)


class RedactionSection(_Section):
    """What is hidden besides the secrets that the bot knows by their shape, their key or their place: regular expressions."""

    patterns: tuple[str, ...] = ()

    @field_validator("patterns")
    @classmethod
    def _usable(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                everything = re.compile(pattern).search("") is not None
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
            if everything:
                raise ValueError(f"{pattern!r} matches nothing at all as well, so it would be found everywhere")
        return patterns


class HelmSection(_Section):
    """The ``helm`` program; a bare name is looked for on PATH. It sees nothing of our environment but what it needs.

    ``environment`` names further variables that it may see, for kubeconfigs with a credential plugin (``AWS_PROFILE``).
    """

    program: str = "helm"
    environment: tuple[str, ...] = ()


class Configuration(_Section):
    """The whole file."""

    slack: SlackSection = SlackSection()
    targets: Annotated[tuple[Target, ...], Field(min_length=1)]
    roles: dict[str, Role] = Field(default_factory=dict)
    runbooks: Path | None = None  # a folder whose runbooks are added to ours and override them by name
    state: Path = Path("state")  # pulled charts and Helm's own home; may be lost at any time
    engine: EngineSection = EngineSection()
    approvals: ApprovalsSection = ApprovalsSection()
    redaction: RedactionSection = RedactionSection()
    probe: ProbeSection = ProbeSection()
    helm: HelmSection = HelmSection()

    @model_validator(mode="after")
    def _distinct(self) -> Configuration:
        names = [target.name for target in self.targets]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two targets are called {name!r}")
        return self

    def target(self, name: str) -> Target | None:
        return next((target for target in self.targets if target.name == name), None)


class Secrets(BaseModel):
    """What only the environment holds. ``repr`` shows none of it."""

    model_config = ConfigDict(frozen=True)

    bot_token: SecretStr
    app_token: SecretStr | None
    signing_secret: SecretStr | None


class Settings(BaseModel):
    """Everything the composition root needs; relative paths are already resolved against the file's folder."""

    model_config = ConfigDict(frozen=True)

    file: Path
    config: Configuration
    secrets: Secrets
    slack_api_url: str
    database_url: SecretStr
    kubeconfig: Path | None


def load(environment: Mapping[str, str], *, file: Path | None = None, slack: bool = True) -> Settings:
    """Reads the file named by ``file`` or ``AETERNA_BOT_CONFIG`` (default ``aeterna-bot.yaml``) and the environment.

    Without ``slack`` its tokens may be missing: who only reads the journal needs none.
    Raises ``UserMistake`` that names the file, the line and the key, or the missing variable.
    """
    path = file or Path(environment.get("AETERNA_BOT_CONFIG", "aeterna-bot.yaml"))
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserMistake(
            f"The configuration {path} cannot be read: {error.strerror}.",
            way_out="Name it with AETERNA_BOT_CONFIG or --config.",
        ) from error
    document = yamlfile.parse(text, name=str(path))
    config = _resolve(yamlfile.validate(document, Configuration), path.resolve().parent)
    for target in config.targets:
        for values in target.values:
            if not values.is_file():
                raise UserMistake(f"{path}: targets.{target.name}.values: there is no file {values}.")
    kubeconfig = environment.get("KUBECONFIG")
    return Settings(
        file=path.resolve(),
        config=config,
        secrets=_secrets(environment, config.slack.mode, needed=slack),
        slack_api_url=environment.get("SLACK_API_URL", "https://slack.com/api/").rstrip("/") + "/",
        database_url=SecretStr(
            _variable(environment, "DATABASE_URL") or f"sqlite+aiosqlite:///{config.state}/aeterna-bot.sqlite"
        ),
        kubeconfig=Path(kubeconfig) if kubeconfig else None,
    )


def _resolve(config: Configuration, base: Path) -> Configuration:
    targets = tuple(
        target.model_copy(
            update={
                "values": tuple(base / values for values in target.values),
                "chart": target.chart.model_copy(
                    update={"path": base / target.chart.path if target.chart.path else None}
                ),
            }
        )
        for target in config.targets
    )
    return config.model_copy(
        update={
            "targets": targets,
            "runbooks": base / config.runbooks if config.runbooks else None,
            "state": base / config.state,
        }
    )


def _variable(environment: Mapping[str, str], name: str) -> str | None:
    """The variable, or the content of the file that ``NAME_FILE`` points to (a mounted Secret)."""
    if file := environment.get(f"{name}_FILE"):
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UserMistake(f"{name}_FILE points to {file}, which cannot be read: {error.strerror}.") from error
    return environment.get(name) or None


def _secrets(environment: Mapping[str, str], mode: str, *, needed: bool) -> Secrets:
    wanted = {"SLACK_BOT_TOKEN", "SLACK_APP_TOKEN" if mode == "socket" else "SLACK_SIGNING_SECRET"} if needed else set()
    found = {
        name: _variable(environment, name) for name in ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET")
    }
    missing = sorted(name for name in wanted if not found[name])
    if missing:
        raise UserMistake(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set (slack.mode is {mode}).",
            way_out=f"Set {missing[0]}, or {missing[0]}_FILE with the path of a mounted secret.",
        )
    return Secrets(
        bot_token=SecretStr(found["SLACK_BOT_TOKEN"] or ""),
        app_token=SecretStr(found["SLACK_APP_TOKEN"]) if found["SLACK_APP_TOKEN"] else None,
        signing_secret=SecretStr(found["SLACK_SIGNING_SECRET"]) if found["SLACK_SIGNING_SECRET"] else None,
    )
