"""Refusals by meaning: who lacks a right is told the rule, who is refused by admission is not."""

from __future__ import annotations

import json

import pytest

from bot.errors import Refused, Temporary
from bot.kube.failures import Call, Conflict, Denied, ServerAway, failure_of

CALL = Call("patch", "deployments", "apps", "prod", "server")


def said(status: int, message: str, **more: object) -> Exception:
    return failure_of(CALL, status, json.dumps({"kind": "Status", "message": message, **more}), dry_run=True)


@pytest.mark.parametrize(
    ("status", "message", "by", "sentence"),
    [
        (403, 'pods "a" is forbidden: exceeded quota: few, requested: pods=1', "quota", "exceeded quota: few"),
        (403, 'pods "a" is forbidden: violates PodSecurity "restricted:latest": x', "policy", "violates PodSecurity"),
        (403, 'pods "a" is forbidden: unable to create new content in namespace prod because it is being terminated',
         "namespace", "it is being terminated"),
        (400, 'admission webhook "no.example.com" denied the request: not today', "webhook", "not today"),
        (422, 'admission webhook "no.example.com" denied the request: User "x" cannot be', "webhook", "cannot be"),
    ],
)  # fmt: skip
def test_admission_is_told_from_rights(status: int, message: str, by: str, sentence: str) -> None:
    error = said(status, message)
    assert isinstance(error, Denied)
    assert error.by == by
    assert sentence in error.said
    assert "is forbidden" not in error.said
    assert "Grant" not in error.way_out


def test_a_missing_right_names_the_rule() -> None:
    error = said(403, 'deployments.apps "server" is forbidden: User "bot" cannot patch resource "deployments"')
    assert isinstance(error, Refused)
    assert not isinstance(error, Denied)
    assert 'resources: ["deployments"], verbs: ["patch"]' in error.way_out


def test_a_conflict_keeps_its_fields() -> None:
    causes = [{"field": ".spec.replicas", "message": 'conflict with "kubectl" using apps/v1'}]
    error = said(409, "Apply failed with 1 conflict", reason="Conflict", details={"causes": causes})
    assert isinstance(error, Conflict)
    assert [cause.field for cause in error.causes] == [".spec.replicas"]


def test_a_busy_server_is_one_cause_and_an_error_of_one_object_is_not() -> None:
    assert isinstance(said(429, "too many requests"), ServerAway)
    failed = said(500, "conversion webhook failed")
    assert isinstance(failed, Temporary)
    assert not isinstance(failed, ServerAway)
