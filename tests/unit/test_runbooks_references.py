"""Where charts take the name of a Secret: by the names that they use for it, never where it is set already."""

from __future__ import annotations

from typing import Any

import pytest

from bot.diff.schemaview import describes
from runbooks.demands import Given, missing, refused
from runbooks.references import Reference, reference

CHARTS: list[tuple[str, dict[str, Any], Reference | None]] = [
    (
        "postgresql.external.password",
        {"postgresql": {"external": {"password": "", "existingSecret": "", "secretKey": "postgres-password"}}},
        Reference("postgresql.external.existingSecret", "postgresql.external.secretKey"),
    ),
    (
        "redis.password",
        {"redis": {"existingSecret": "", "passwordKey": "password"}},
        Reference("redis.existingSecret", "redis.passwordKey"),
    ),
    (
        "vectorStore.apiKey",
        {"vectorStore": {"existingSecret": "", "apiKeyKey": "api-key"}},
        Reference("vectorStore.existingSecret", "vectorStore.apiKeyKey"),
    ),
    ("auth.password", {"auth": {"password": "", "existingSecret": ""}}, Reference("auth.existingSecret")),
    (
        "smtp.password",
        {"smtp": {"passwordSecretRef": {"name": "", "key": ""}, "existingSecret": ""}},
        Reference("smtp.passwordSecretRef.name", "smtp.passwordSecretRef.key"),
    ),
    (
        "llm.token",
        {"llm": {"token": {"valueFrom": {"secretKeyRef": {"name": "", "key": ""}}}}},
        Reference("llm.token.valueFrom.secretKeyRef.name", "llm.token.valueFrom.secretKeyRef.key"),
    ),
    ("auth.password", {"auth": {"password": "", "user": ""}}, None),
    ("auth.password", {"auth": {"password": "", "existingSecret": "set-already"}}, None),
    ("password", {"password": "", "existingSecret": ""}, Reference("existingSecret")),
]


@pytest.mark.parametrize(("path", "defaults", "found"), CHARTS)
def test_a_chart_takes_a_secrets_name_where_its_defaults_say(
    path: str, defaults: dict[str, Any], found: Reference | None
) -> None:
    assert reference(tuple(path.split(".")), values={}, defaults=defaults, described=lambda _: None) == found


def test_the_schema_tells_it_too() -> None:
    properties = {"password": {"type": "string"}, "existingSecret": {"type": "string"}}
    schema = {"properties": {"db": {"properties": properties}}}
    found = reference(("db", "password"), values={}, defaults={}, described=lambda path: describes(path, schema))
    assert found == Reference("db.existingSecret")


def test_a_secret_that_the_schema_demands_comes_with_its_reference_or_cannot_be_supplied() -> None:
    schema = {"properties": {"db": {"required": ["password"], "properties": {"password": {"type": "string"}}}}}
    for defaults, suppliable in (({"db": {"existingSecret": ""}}, True), ({"db": {"user": ""}}, False)):
        given = Given({}, defaults, schema)
        error = refused(given, "aeterna")
        assert error is not None
        (one,) = [one for one in missing(error, given) if one.path == "db.password"]
        assert one.secret
        assert one.suppliable is suppliable
        assert one.as_fact()["reference"] == ({"name": "db.existingSecret", "key": ""} if suppliable else None)
