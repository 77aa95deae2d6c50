"""What the API server says against an object, as findings: short, one a field, without a secret's value."""

from __future__ import annotations

from bot.engine.contract import Level
from bot.errors import Permanent, Refused, Temporary
from bot.kube.failures import Conflict, FieldCause, Invalid
from bot.kube.objects import ObjectRef
from runbooks.checks.refusals import MOST, Subject, owners, refusal, remarks, undeclared

SERVER = Subject(ObjectRef("apps/v1", "Deployment", "server"))


def test_each_field_is_a_finding_of_its_own_and_none_is_told_twice() -> None:
    causes = [FieldCause("spec.replicas", "Invalid value: -1: must not be negative")] * 2
    causes += [FieldCause(f"spec.x{number}", "Required value") for number in range(30)]
    found = refusal(SERVER, Invalid("no", causes=causes))
    assert len(found) == MOST
    assert found[0].text == "Deployment/server: spec.replicas: Invalid value: -1: must not be negative."
    assert {(one.level, one.code, one.subject) for one in found} == {
        (Level.BLOCKER, "dry_run.invalid", "Deployment/server")
    }
    assert all(one.way_out for one in found)


def test_the_value_of_a_secret_and_a_long_one_are_left_out() -> None:
    secret = Subject(ObjectRef("v1", "Secret", "login"))
    short = FieldCause("data[token]", 'Invalid value: "hunter2": must be base64')
    long = FieldCause("spec.template", f'Invalid value: {{"a": "{"x" * 500}"}}: field is immutable')
    (one,) = refusal(secret, Invalid("no", causes=[short]))
    assert "hunter2" not in one.text
    assert "must be base64" in one.text
    (two,) = refusal(SERVER, Invalid("no", causes=[long]))
    assert two.text == "Deployment/server: spec.template: Invalid value: field is immutable."
    assert two.code == "dry_run.immutable"


def test_fields_without_a_schema_are_read_from_both_of_the_servers_ways_to_say_it() -> None:
    typed = Temporary("(500): failed to create typed patch object: errors:\n .spec.a: field not declared in schema\n .b[0].c: "
                      "field not declared in schema")  # fmt: skip
    assert undeclared(typed) == (".spec.a", ".b[0].c")
    assert undeclared(Invalid('strict decoding error: unknown field "spec.a"')) == ("spec.a",)
    assert undeclared(Refused('unknown field "spec.a"')) == ()
    said = [one.way_out for one in refusal(SERVER, typed, dropped=True)]
    assert len(said) == 2
    assert all("Client-side apply" in one for one in said)
    assert all("Client-side apply" not in one.way_out for one in refusal(SERVER, typed))


def test_a_conflict_names_the_owner_of_each_field() -> None:
    cause = FieldCause(".spec.replicas", 'conflict with "kubectl-scale" using apps/v1')
    error = Conflict("Apply failed", reason="Conflict", causes=[cause])
    assert owners(error) == {"kubectl-scale"}
    (one,) = refusal(SERVER, error)
    assert one.code == "dry_run.conflict"
    assert ".spec.replicas was set by kubectl-scale" in one.text


def test_rights_failures_and_the_rest_have_codes_of_their_own() -> None:
    errors = {
        "dry_run.forbidden": Refused("The cluster does not allow it.", way_out="Grant it."),
        "dry_run.webhook": Temporary('(500): failed calling webhook "a": no endpoints'),
        "unseen": Temporary("(500): something broke."),
        "dry_run.refused": Permanent("It is a teapot."),
    }
    for code, error in errors.items():
        (one,) = refusal(SERVER, error)
        assert (one.code, one.level) == (code, Level.BLOCKER)
        assert one.way_out


def test_what_the_server_says_of_a_whole_kind_is_told_of_the_kind() -> None:
    said = ["apps/v1 Deployment is deprecated in v9+", 'unknown field "spec.a"', "be careful"]
    found = remarks(Subject(SERVER.ref, hook=True), "apps/v1", [*said, *said])
    assert [(one.code, one.subject) for one in found] == [
        ("api.deprecated", "Deployment (apps/v1)"),
        ("dry_run.dropped", "Deployment/server"),
        ("dry_run.warning", "Deployment/server"),
    ]
    assert found[1].text.startswith("Deployment/server (hook): spec.a is not declared")
