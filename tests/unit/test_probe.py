"""What the probe says in its last line, and what servers' and libraries' words mean to it. Nobody is asked here."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from bot.kube.probejob import Probes, ProbeSpec, SecretKey
from bot.kube.probewait import end_of, what_holds
from bot.probe.asking import Question, said
from bot.probe.postgres import refused
from bot.probe.redis import result_of
from bot.probe.result import MARK, Count, Migration, ProbeResult, Reason, emptiness, found_in, line_of

TEXT = st.text(max_size=40)
COUNTS = st.lists(st.builds(Count, TEXT, st.none() | st.integers(0, 10**15), st.booleans()), max_size=5).map(tuple)
RESULTS = st.builds(
    ProbeResult,
    kind=st.sampled_from(["postgres", "redis", "qdrant"]),
    reason=st.none() | st.sampled_from(list(Reason)),
    said=TEXT,
    product=TEXT,
    version=TEXT,
    size=st.none() | st.integers(0, 10**15),
    counts=COUNTS,
    left_out=st.integers(0, 9),
    empty=st.none() | st.booleans(),
    newest_migration=st.none() | st.builds(Migration, TEXT, TEXT, TEXT),
    read_only=st.booleans(),
    notes=st.lists(TEXT, max_size=3).map(tuple),
)
ASKED = Question(host="db.example", port=5432, user="aeterna", password="tr0ub4dor")
SPEC = ProbeSpec(kind="postgres", host="db.example", port=5432, secret=SecretKey("outside", "password"))


@given(RESULTS, st.lists(TEXT, max_size=4), st.lists(TEXT, max_size=4))
def test_a_result_is_found_again_in_any_log(result: ProbeResult, before: list[str], after: list[str]) -> None:
    found = found_in("\n".join([*before, line_of(result), *after]))
    assert found is not None
    assert TypeAdapter(ProbeResult).validate_json(found) == result


@given(RESULTS)
def test_a_result_is_one_line_of_plain_characters(result: ProbeResult) -> None:
    line = line_of(result)
    assert line.isascii()
    assert line.splitlines() == [line]


@given(st.text(max_size=300))
def test_a_log_without_a_result_has_none(log: str) -> None:
    assert found_in(log) is None


@pytest.mark.parametrize("line", ['{"level":"info"}', f'{{"{MARK}"', f'{{"{MARK}":2}}', "[]", ""])
def test_other_json_is_no_result(line: str) -> None:
    assert found_in(line) is None


def test_what_is_counted_is_told_by_name_and_estimates_are_known_as_such() -> None:
    result = ProbeResult(
        "postgres", counts=(Count("a", 3), Count("b", 900, exact=False), Count("c", None, exact=False))
    )
    assert (dict(result.rows), result.estimated, result.total) == ({"a": 3, "b": 900}, frozenset({"b"}), 903)
    assert result.ok
    assert not ProbeResult("postgres", reason=Reason.TLS).ok
    assert asdict(result)["counts"][1] == {"name": "b", "number": 900, "exact": False}


@pytest.mark.parametrize(
    ("counts", "empty"),
    [
        ((), True),
        ((Count("a", 0), Count("m", 35)), True),
        ((Count("a", 0), Count("other.m", 35)), True),
        ((Count("a", 1), Count("b", None, exact=False)), False),
        ((Count("a", 5, exact=False),), False),
        ((Count("a", 0, exact=False),), None),
        ((Count("a", 0), Count("b", None, exact=False)), None),
    ],
)
def test_empty_means_that_nothing_but_migrations_is_there_and_is_not_guessed(
    counts: tuple[Count, ...], empty: bool | None
) -> None:
    assert emptiness(counts, apart_from="m") is empty


# -- what words mean ----------------------------------------------------------------------------------------------

_AT = 'connection failed: connection to server at "10.0.0.7", port 5432 failed: '


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (_AT + 'FATAL:  password authentication failed for user "aeterna"', Reason.WRONG_PASSWORD),
        (_AT + "fe_sendauth: no password supplied", Reason.WRONG_PASSWORD),
        (_AT + 'FATAL:  role "nobody" does not exist', Reason.WRONG_PASSWORD),
        (_AT + 'FATAL:  database "aeterna" does not exist', Reason.NO_DATABASE),
        (_AT + "server does not support SSL, but SSL was required", Reason.TLS),
        (_AT + "SSL error: certificate verify failed", Reason.TLS),
        (_AT + 'server certificate for "other" does not match host name "db.example"', Reason.TLS),
        (
            _AT + 'FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "a", database "b", no encryption',
            Reason.FORBIDDEN,
        ),
        (_AT + 'FATAL:  no pg_hba.conf entry for host "10.0.0.9", user "a", SSL off', Reason.FORBIDDEN),
        (_AT + 'FATAL:  permission denied for database "aeterna"', Reason.FORBIDDEN),
        (_AT + "Connection refused\n\tIs the server running on that host?", Reason.NO_ANSWER),
        (_AT + "server closed the connection unexpectedly", Reason.NO_ANSWER),
        (_AT + "FATAL:  sorry, too many clients already", Reason.OTHER),
        ("[Errno 111] Connection refused", Reason.NO_ANSWER),
        (_AT + "FATAL:  l'authentification par mot de passe a échoué", Reason.OTHER),
    ],
)
def test_a_refused_login_has_a_reason(words: str, reason: Reason) -> None:
    failure = refused(ASKED, words)
    assert failure.reason is reason
    assert "db.example:5432" in failure.said
    assert "\n" not in failure.said


@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_a_server_says_the_password_is_not_in_it(before: str, after: str) -> None:
    words = said(ASKED, f"{before}{ASKED.password}{after}")
    assert ASKED.password not in words
    assert ASKED.password not in repr(ASKED)


@pytest.mark.parametrize(
    ("info", "product", "version"),
    [
        ({"redis_version": "7.4.0", "dragonfly_version": "df-v1.37.0"}, "Dragonfly", "1.37.0"),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.1"}, "Valkey", "8.1.1"),
        ({"redis_version": "6.2.5"}, "Redis", "6.2.5"),
        ({}, "", ""),
    ],
)
def test_what_speaks_the_protocol_of_redis_is_told_by_its_own_name(
    info: dict[str, object], product: str, version: str
) -> None:
    databases = {"db0": {"keys": 2, "expires": 0}, "db3": {"keys": 1, "expires": 0}, "db_size": "no database"}
    result = result_of({**info, **databases, "used_memory": 4096, "role": "slave"})
    assert (result.product, result.version) == (product, version)
    assert (dict(result.rows), result.size, result.read_only) == ({"db0": 2, "db3": 1}, 4096, True)


# -- the Job ------------------------------------------------------------------------------------------------------


def _job(spec: ProbeSpec = SPEC, *, image: str = "bot:1", **more: object) -> dict[str, object]:
    nobody: object = None
    return Probes(nobody, "aeterna", image=image, **more).job(spec, name="probe-x", labels={"run": "r1"})  # type: ignore[arg-type]


def test_the_password_is_only_a_reference() -> None:
    (container,) = _job()["spec"]["template"]["spec"]["containers"]  # type: ignore[index]
    (reference,) = [one for one in container["env"] if one["name"] == "PROBE_PASSWORD"]
    assert reference == {
        "name": "PROBE_PASSWORD",
        "valueFrom": {"secretKeyRef": {"name": "outside", "key": "password"}},
    }
    assert container["command"] == [
        *("python", "-P", "-m", "bot.probe", "postgres", "--host=db.example", "--port=5432", "--tls=prefer"),
    ]


def test_without_a_secret_there_is_no_password() -> None:
    bare = ProbeSpec(kind="redis", host="-cache", port=6379)
    assert "PROBE_PASSWORD" not in json.dumps(_job(bare))
    assert "--host=-cache" in json.dumps(_job(bare)), "a name is never taken for an option"


def test_the_pull_secrets_of_the_configuration_are_named() -> None:
    assert _job(pull_secrets=("ghcr",))["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "ghcr"}]  # type: ignore[index]
    assert "imagePullSecrets" not in json.dumps(_job())


def _pod(state: dict[str, object], **status: object) -> dict[str, object]:
    containers = [{"name": "sidecar", "state": {"running": {}}}, {"name": "probe", "state": state}]
    return {
        "metadata": {"name": "probe-x-1"},
        "status": {"phase": "Pending", "containerStatuses": containers, **status},
    }


@pytest.mark.parametrize(
    ("state", "how"),
    [
        ({"terminated": {"exitCode": 0, "reason": "Completed"}}, "ended"),
        ({"waiting": {"reason": "ErrImagePull", "message": "try"}}, None),
        ({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}, "image"),
        ({"waiting": {"reason": "InvalidImageName", "message": "x"}}, "image"),
        ({"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "outside" not found'}}, "secret"),
        (
            {"waiting": {"reason": "CreateContainerConfigError", "message": "couldn't find key p in Secret a/b"}},
            "secret",
        ),
        (
            {"waiting": {"reason": "CreateContainerConfigError", "message": "image will run as root"}},
            "configuration",
        ),
        ({"waiting": {"reason": "ContainerCreating"}}, None),
        ({"running": {}}, None),
    ],
)
def test_the_pods_status_tells_how_the_probe_ended(state: dict[str, object], how: str | None) -> None:
    ended = end_of(_pod(state), "probe")
    assert (ended.how if ended else None) == how


def test_a_pod_that_was_evicted_is_gone() -> None:
    ended = end_of(_pod({}, phase="Failed", reason="Evicted", message="The node was low on memory."), "probe")
    assert ended is not None
    assert (ended.how, ended.said) == ("gone", "its pod has failed (Evicted: The node was low on memory)")


def test_what_holds_a_probe_up_is_told() -> None:
    waits = [{"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available."}]
    assert what_holds(_pod({}, conditions=waits), "probe") == "no node takes its pod: 0/2 nodes are available"
    assert what_holds(_pod({"running": {}}), "probe") == "its program is still running"
