"""Helm's JSON into our models. Only what is used is read; anything else in it may change without harm."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, TypeAdapter, ValidationError

from bot.errors import Permanent
from bot.helm.models import ChartRef, Hook, Json, ListedRelease, Release, Revision, Status, StoredRelease

Model = TypeVar("Model")


def _time(value: object) -> object:
    """Go's zero time, and Helm 3's empty string, mean: never."""
    return None if value in ("", None) or (isinstance(value, str) and value.startswith("0001-")) else value


def _list(value: object) -> object:
    return [] if value is None else value


def _mapping(value: object) -> object:
    return {} if value is None else value


Time = Annotated[datetime | None, BeforeValidator(_time)]
Mapping = Annotated[dict[str, Any], BeforeValidator(_mapping)]


class _Ran(BaseModel):
    started_at: Time = None
    completed_at: Time = None
    phase: str = ""


class _Hook(BaseModel):
    name: str = ""
    kind: str = ""
    path: str = ""
    manifest: str = ""
    events: Annotated[list[str], BeforeValidator(_list)] = []
    weight: int = 0
    last_run: _Ran = _Ran()

    def model(self) -> Hook:
        ran = self.last_run
        return Hook(
            self.name,
            self.kind,
            tuple(self.events),
            self.weight,
            ran.phase,
            ran.started_at,
            ran.completed_at,
            self.path,
            self.manifest,
        )


class _Info(BaseModel):
    first_deployed: Time = None
    last_deployed: Time = None
    description: str = ""
    status: str = ""
    rollback_revision: int = 0
    notes: str = ""


class _Metadata(BaseModel):
    name: str = ""
    version: str = ""
    appVersion: str = ""  # noqa: N815 — Helm's name


class _Release(BaseModel):
    name: str
    version: int
    namespace: str = ""
    info: _Info = _Info()
    chart: dict[str, Any] | None = None
    config: Mapping = {}
    manifest: str = ""
    hooks: Annotated[list[_Hook], BeforeValidator(_list)] = []
    apply_method: str = ""

    def fields(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "namespace": self.namespace,
            "revision": self.version,
            "status": Status(self.info.status),
            "description": self.info.description,
            "first_deployed": _utc(self.info.first_deployed),
            "last_deployed": _utc(self.info.last_deployed),
            "chart": _chart_ref(self.chart),
            "apply_method": self.apply_method,
            "rollback_to": self.info.rollback_revision or None,
            "config": self.config,
            "manifest": self.manifest,
            "hooks": tuple(hook.model() for hook in self.hooks),
            "notes": self.info.notes,
        }


class _HistoryLine(BaseModel):
    revision: int
    updated: Time = None
    status: str = ""
    chart: str = ""
    app_version: str = ""
    description: str = ""
    rollback_revision: int = 0


class _ListLine(BaseModel):
    name: str
    namespace: str = ""
    revision: int  # printed as a string
    updated: str = ""
    status: str = ""
    chart: str = ""
    app_version: str = ""


def read_release(text: str | bytes) -> Release:
    """From ``status -o json`` or ``upgrade -o json``. Raises `Permanent` when it is something else."""
    return Release(**_validated(_Release, text, "the release").fields())


def read_history(text: str | bytes) -> list[Revision]:
    """From ``history -o json``, oldest first."""
    return [
        Revision(
            line.revision,
            Status(line.status),
            _utc(line.updated),
            ChartRef.from_joined(line.chart, line.app_version),
            line.description,
            line.rollback_revision or None,
        )
        for line in sorted(_validated(list[_HistoryLine], text, "the history"), key=lambda line: line.revision)
    ]


def read_list(text: str | bytes) -> list[ListedRelease]:
    """From ``list -o json``."""
    return [
        ListedRelease(
            line.name,
            line.namespace,
            line.revision,
            Status(line.status),
            ChartRef.from_joined(line.chart, line.app_version),
            line.updated,
        )
        for line in _validated(list[_ListLine], text, "the list of releases")
    ]


def read_values(text: str | bytes) -> Json:
    """From ``get values -o json``, which prints ``null`` when there are none."""
    values: Json = _validated(Mapping, text, "the values")
    return values


def read_stored(text: str | bytes, labels: dict[str, str]) -> StoredRelease:
    """From the JSON in a release Secret, with the labels that users gave."""
    stored = _validated(_Release, text, "the stored release")
    chart = stored.chart or {}
    values = chart.get("values")
    schema = _schema(chart.get("schema"))
    return StoredRelease(
        **stored.fields(),
        labels=labels,
        chart_values=values if isinstance(values, dict) else {},
        chart_schema=schema,
        chart_crds=dict(_crds(chart.get("files"))),
    )


def _crds(files: object) -> Iterator[tuple[str, str]]:
    for file in files if isinstance(files, list) else ():
        name, data = (file.get("name"), file.get("data")) if isinstance(file, dict) else (None, None)
        if isinstance(name, str) and name.startswith("crds/") and isinstance(data, str):
            try:
                yield name, base64.b64decode(data, validate=True).decode(errors="replace")
            except ValueError:
                continue  # what cannot be read is not known, as with subcharts


def _schema(encoded: object) -> Json | None:
    """Go writes bytes as base64."""
    if not isinstance(encoded, str) or not encoded:
        return None
    try:
        schema = json.loads(base64.b64decode(encoded, validate=True))
    except ValueError:
        return None
    return schema if isinstance(schema, dict) else None


def _chart_ref(chart: dict[str, Any] | None) -> ChartRef | None:
    if chart is None:
        return None
    metadata = TypeAdapter(_Metadata).validate_python(chart.get("metadata") or {})
    return ChartRef(metadata.name, metadata.version, metadata.appVersion)


def _utc(value: datetime | None) -> datetime | None:
    if value is None:
        return None
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _validated(shape: Any, text: str | bytes, what: str) -> Any:
    try:
        return TypeAdapter(shape).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise Permanent(
            f"Helm's account of {what} is not as expected: {place}: {first['msg']}.",
            way_out="Check the version of Helm (4, or 3.18 and later).",
        ) from None  # the cause would carry the values themselves
