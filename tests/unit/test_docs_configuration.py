"""The configuration's reference page and example say what ``bot.settings`` says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bot.settings import Configuration, Settings, load

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"
EXAMPLE = ROOT / "aeterna-bot.example.yaml"
TOP = "The file"
TOKENS = {"SLACK_BOT_TOKEN": "b-token", "SLACK_APP_TOKEN": "a-token"}
UNITS = (("d", 86_400), ("h", 3_600), ("m", 60))


def _section(annotation: Any) -> tuple[type[BaseModel], str] | None:
    """The model behind a field, and what its place in a path looks like: ``[]`` in a list, ``.NAME`` in a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return next((found for part in arguments if (found := _section(part))), None)
    inner = _section(arguments[-1] if origin is dict else arguments[0]) if origin in (dict, tuple) else None
    return (inner[0], ".NAME" if origin is dict else "[]") if inner else None


def _sections(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    yield path or TOP, model
    for name, field in model.model_fields.items():
        if found := _section(field.annotation):
            yield from _sections(found[0], f"{path}.{name}{found[1]}".removeprefix("."))


def _duration(value: timedelta) -> str:
    seconds = value.total_seconds()
    unit, size = next(((unit, size) for unit, size in UNITS if seconds % size == 0), ("s", 1))
    return f"{seconds / size:g}{unit}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    if isinstance(value, timedelta):
        return _duration(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _documented() -> dict[str, dict[str, str]]:
    parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)[1:]
    rows = [re.findall(r"^\| `(\w+)` \| ([^|]*) \|", text, re.MULTILINE) for text in parts[1::2]]
    return {heading: dict(row) for heading, row in zip(parts[::2], rows, strict=True)}


@pytest.mark.parametrize(("heading", "model"), list(_sections(Configuration)), ids=str)
def test_every_key_stands_in_the_reference_with_its_default(heading: str, model: type[BaseModel]) -> None:
    leaves = {name: _default(field) for name, field in model.model_fields.items() if not _section(field.annotation)}
    assert {key: value.strip(" `") for key, value in _documented()[heading].items()} == leaves


def test_the_reference_has_no_section_that_is_not_there() -> None:
    assert set(_documented()) == {"Environment", *(heading for heading, _ in _sections(Configuration))}


def test_every_variable_of_the_environment_stands_in_the_reference() -> None:
    code = (ROOT / "bot" / "settings.py").read_text() + (ROOT / "bot" / "cli.py").read_text()
    read = set(re.findall(r'"((?:SLACK|AETERNA_BOT|DATABASE)_[A-Z_]+|KUBECONFIG)"', code))
    assert set(_documented()["Environment"]) == read


@pytest.fixture
def example(tmp_path: Path) -> Settings:
    (tmp_path / "values").mkdir()
    (tmp_path / "values" / "prod.yaml").write_text("{}")
    file = tmp_path / "aeterna-bot.yaml"
    file.write_text(EXAMPLE.read_text())
    return load(TOKENS, file=file)


def test_the_example_is_loaded(example: Settings) -> None:
    prod = example.config.target("prod")
    assert prod is not None
    assert prod.server_workloads() == ("Deployment/aeterna",)
    assert set(example.config.roles) == {"release-engineers", "on-call"}


def test_the_example_has_every_key() -> None:
    text = EXAMPLE.read_text()
    commented = text.replace("# oci:", "oci:").replace("# path:", "path:")
    for heading, model in _sections(Configuration):
        found: Any = yaml.safe_load(commented)
        for step in [] if heading == TOP else heading.replace("[]", ".[]").split("."):
            found = found[0] if step == "[]" else next(iter(found.values())) if step == "NAME" else found[step]
        missing = set(model.model_fields) - set(found)
        assert missing <= {"users", "groups"}, f"{heading}: {missing}"  # a role has one of them


def test_what_the_example_calls_a_default_is_one(example: Settings) -> None:
    """Every key without a word about its default stands there with it."""
    lines = {line.split(":")[0].strip(" -#") for line in EXAMPLE.read_text().splitlines() if "(default: none)" in line}
    role = {"groups", "users", "permissions", "targets"}
    given = {"name", "namespace", "release", "chart", "repo", "targets", "layer"}
    for (heading, model), part in zip(_sections(Configuration), _parts(example.config), strict=True):
        for name, field in model.model_fields.items():
            if _section(field.annotation) or name in lines | given or heading.startswith("roles"):
                continue
            if heading.startswith("targets[].components") or name in role:
                continue
            written = getattr(part, name)
            default = field.get_default(call_default_factory=True)
            assert str(written).endswith(str(default)), f"{heading}.{name}"


def _parts(part: BaseModel) -> Iterator[BaseModel]:
    yield part
    for name, field in type(part).model_fields.items():
        if _section(field.annotation):
            inner = getattr(part, name)
            first = next(iter(inner.values())) if isinstance(inner, Mapping) else inner
            yield from _parts(first[0] if isinstance(first, tuple) else first)
