"""Helm's words, recorded from Helm 4.3.1 and read in the sources of 3.18, and what they mean."""

from __future__ import annotations

import pytest

from bot.errors import BotError, OutcomeUnknown, Permanent, Refused, Temporary, UserMistake
from bot.helm.explain import explain
from bot.helm.failures import (
    ApplyConflict,
    ClusterForbids,
    ClusterUnreachable,
    FieldProblem,
    HelmFailed,
    HelmTooOld,
    HookFailed,
    ManifestRefused,
    NotReadyInTime,
    ReleaseNotFound,
    ReleasePending,
    RenderFailed,
    RepositoryUnreachable,
    RevisionNotFound,
    ValuesRefused,
)
from bot.helm.stderr import Failure, error_text


def fail(stderr: str, *, command: str = "upgrade", exit_code: int = 1, mutating: bool = True) -> BotError:
    return explain(Failure(command, "`aeterna` in `prod`", exit_code, stderr, mutating=mutating))


RENDERING = {
    "helm 4, a value below nothing": (
        "Error: c/templates/a.yaml:1:13\n"
        '  executing "c/templates/a.yaml" at <.Values.server.image.tag>:\n'
        "    nil pointer evaluating interface {}.image\n\nUse --debug flag to render out invalid YAML\n",
        ("c/templates/a.yaml", 1, 13, ".Values.server.image.tag", "nil pointer evaluating interface {}.image"),
    ),
    "helm 4, in an included template": (
        "Error: c/templates/a.yaml:2:6\n"
        '  executing "c/templates/a.yaml" at <include "h" .>:\n    error calling include:\n'
        'c/templates/_h.tpl:1:26\n  executing "h" at <.Values.a.b.c>:\n'
        "    nil pointer evaluating interface {}.b\n\nUse --debug flag to render out invalid YAML\n",
        ("c/templates/_h.tpl", 1, 26, ".Values.a.b.c", "nil pointer evaluating interface {}.b"),
    ),
    "helm 3, in an included template": (
        'Error: UPGRADE FAILED: template: c/templates/a.yaml:2:6: executing "c/templates/a.yaml" at <include "h" .>: '
        'error calling include: template: c/templates/_h.tpl:1:26: executing "h" at <.Values.a.b.c>: '
        "nil pointer evaluating interface {}.b\n",
        ("c/templates/_h.tpl", 1, 26, ".Values.a.b.c", "nil pointer evaluating interface {}.b"),
    ),
    "required": (
        "Error: UPGRADE FAILED: execution error at (c/templates/a.yaml:1:6): server.host is required, see values.yaml\n",
        ("c/templates/a.yaml", 1, 6, "", "server.host is required, see values.yaml"),
    ),
    "parse error": (
        'Error: parse error at (c/templates/a.yaml:1): function "nosuch" not defined\n\n'
        "Use --debug flag to render out invalid YAML\n",
        ("c/templates/a.yaml", 1, 0, "", 'function "nosuch" not defined'),
    ),
    "not yaml": (
        'level=DEBUG msg="Chart path" path=/x\n'
        "Error: YAML parse error on c/templates/a.yaml: error converting YAML to JSON: yaml: line 2: "
        "mapping values are not allowed in this context\n",
        (
            "c/templates/a.yaml",
            2,
            0,
            "",
            "the result is not YAML: mapping values are not allowed in this context",
        ),
    ),
    "a template that is missing": (
        'Error: c/templates/a.yaml:1:6\n  executing "c/templates/a.yaml" at <include "nosuch" .>:\n'
        '    error calling include:\ntemplate: no template "nosuch" associated with template "gotpl"\n',
        (
            "c/templates/a.yaml",
            1,
            6,
            'include "nosuch" .',
            'error calling include: template: no template "nosuch" associated with template "gotpl"',
        ),
    ),
}


@pytest.mark.parametrize(("stderr", "expected"), RENDERING.values(), ids=RENDERING.keys())
def test_a_chart_that_does_not_render_is_told_with_file_line_key_and_cause(
    stderr: str, expected: tuple[str, int, int, str, str]
) -> None:
    error = fail(stderr)
    assert isinstance(error, RenderFailed)
    assert (error.template, error.line, error.column, error.key, error.cause) == expected
    assert f"{error.template}:{error.line}" in error.message


def test_values_against_the_schema_are_told_field_by_field() -> None:
    error = fail(
        "Error: UPGRADE FAILED: values don't meet the specifications of the schema(s) in the following chart(s):\n"
        "c:\n- at '': missing property 'host'\n- at '/server/replicas': minimum: got 0, want 1\n"
        "sub:\n- at '/server': additional properties 'typo' not allowed\n\n"
    )
    assert isinstance(error, ValuesRefused)
    assert error.fields == (
        FieldProblem("c", "", "missing property 'host'"),
        FieldProblem("c", "server.replicas", "minimum: got 0, want 1"),
        FieldProblem("sub", "server", "additional properties 'typo' not allowed"),
    )
    assert "server.replicas: minimum: got 0, want 1" in error.message


def test_a_secret_that_the_schema_refuses_is_not_repeated() -> None:
    error = fail(
        "Error: values don't meet the specifications of the schema(s) in the following chart(s):\n"
        "c:\n- at '/db/password': 'hunter2' does not match pattern '^.{12,}$'\n- at '/name': 'x y' does not match pattern '^a'\n"
    )
    assert isinstance(error, ValuesRefused)
    assert error.fields[0] == FieldProblem("c", "db.password", "(hidden) does not match pattern '^.{12,}$'")
    assert error.fields[1].problem == "'x y' does not match pattern '^a'"
    assert "hunter2" not in f"{error} {error.evidence}"


def test_what_was_not_ready_is_named_with_its_reason() -> None:
    error = fail(
        'level=WARN msg="upgrade failed" name=aeterna error="resource ..."\n'
        "Error: UPGRADE FAILED: resource Deployment/prod/web not ready. status: InProgress, message: Available: 0/1\n"
        "resource StatefulSet/prod/db not ready. status: InProgress, message: Ready: 0/1\ncontext deadline exceeded\n"
    )
    assert isinstance(error, NotReadyInTime)
    assert [(r.kind, r.name, r.message) for r in error.resources] == [
        ("Deployment", "web", "Available: 0/1"),
        ("StatefulSet", "db", "Ready: 0/1"),
    ]
    assert error.timed_out
    assert "Deployment web: Available: 0/1" in error.message


def test_helm_3_only_says_that_it_timed_out() -> None:
    error = fail("Error: UPGRADE FAILED: context deadline exceeded\n")
    assert isinstance(error, NotReadyInTime)
    assert (error.resources, error.timed_out) == ((), True)


@pytest.mark.parametrize(
    ("text", "kind", "name", "timed_out"),
    [
        (
            "pre-upgrade hooks failed: resource Job/prod/migrate not ready. status: Failed, message: Job Failed. failed: 1/1",
            "Job",
            "migrate",
            False,
        ),
        (
            "pre-upgrade hooks failed: resource Job/prod/migrate not ready. status: InProgress, message: Job in progress\n"
            "context deadline exceeded",
            "Job",
            "migrate",
            True,
        ),
        (
            "pre-upgrade hooks failed: 1 error occurred:\n\t* job migrate failed: BackoffLimitExceeded\n\n",
            "Job",
            "migrate",
            False,
        ),
        ("pre-upgrade hooks failed: timed out waiting for the condition", "", "", True),
    ],
    ids=["helm 4 failed", "helm 4 timed out", "helm 3 failed", "helm 3 timed out"],
)
def test_a_hook_that_failed_is_named(text: str, kind: str, name: str, timed_out: bool) -> None:
    error = fail(f"Error: UPGRADE FAILED: {text}\n")
    assert isinstance(error, HookFailed)
    assert (error.event, error.kind, error.name, error.timed_out) == ("pre-upgrade", kind, name, timed_out)


def test_fields_of_another_manager_are_named_with_their_owner() -> None:
    error = fail(
        "Error: UPGRADE FAILED: conflict occurred while applying object prod/web apps/v1, Kind=Deployment: "
        'Apply failed with 2 conflicts: conflicts with "kubectl" with subresource "scale" using apps/v1:\n'
        '- .spec.replicas\nconflicts with "ops":\n- .spec.template.spec.containers[name="web"].image\n'
    )
    assert isinstance(error, ApplyConflict)
    assert error.conflicts["kubectl"] == (".spec.replicas",)
    assert "kubectl owns .spec.replicas" in error.message


def test_an_object_that_is_refused_is_named_without_its_whole_content() -> None:
    error = fail(
        "Error: UPGRADE FAILED: server-side apply failed for object prod/aeterna-qdrant apps/v1, Kind=StatefulSet: "
        'StatefulSet.apps "aeterna-qdrant" is invalid: spec.volumeClaimTemplates: Invalid value: '
        '[{"name":"qdrant-storage","Spec":{"AccessModes":["ReadWriteOnce"],"Selector":null}}]: field is immutable\n'
    )
    assert error.message == (
        "The API server does not take StatefulSet aeterna-qdrant: spec.volumeClaimTemplates: Invalid value: …: field is immutable"
    )


MEANINGS: list[tuple[str, type[BotError]]] = [
    ("Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress", ReleasePending),
    ("Error: UPGRADE FAILED: release: already exists", ReleasePending),
    ("Error: release: not found", ReleaseNotFound),
    ('Error: UPGRADE FAILED: "x" has no deployed releases', ReleaseNotFound),
    ("Error: release has no 7 version", RevisionNotFound),
    (
        'Error: UPGRADE FAILED: kubernetes cluster unreachable: Get "https://127.0.0.1:9/version": dial tcp 127.0.0.1:9: '
        "connect: connection refused",
        ClusterUnreachable,
    ),
    (
        'Error: Kubernetes cluster unreachable: Get "https://127.0.0.1:9/version": dial tcp: i/o timeout',
        ClusterUnreachable,
    ),
    (
        "Error: kubernetes cluster unreachable: the server has asked for the client to provide credentials",
        ClusterForbids,
    ),
    (
        'Error: query: failed to query with labels: secrets is forbidden: User "bot" cannot list resource "secrets" in API '
        'group "" in the namespace "prod"',
        ClusterForbids,
    ),
    (
        'Error: looks like "http://127.0.0.1:9/" is not a valid chart repository or cannot be reached: Get '
        '"http://127.0.0.1:9/index.yaml": dial tcp 127.0.0.1:9: connect: connection refused',
        RepositoryUnreachable,
    ),
    (
        'Error: failed to perform "FetchReference" on source: Get "https://127.0.0.1:9/v2/x/c/manifests/1.0.0": dial tcp '
        "127.0.0.1:9: connect: connection refused",
        RepositoryUnreachable,
    ),
    ("Error: unknown flag: --nosuch", HelmTooOld),
    (
        'Error: UPGRADE FAILED: server-side apply failed for object prod/web apps/v1, Kind=Deployment: Deployment.apps "web" '
        "is invalid: spec.selector: Invalid value: {}: field is immutable",
        ManifestRefused,
    ),
    (
        'Error: UPGRADE FAILED: resource mapping not found for name: "db" namespace: "" from "": no matches for kind '
        '"Cluster" in version "postgresql.cnpg.io/v1"\nensure CRDs are installed first',
        ManifestRefused,
    ),
    (
        'Error: UPGRADE FAILED: unable to continue with update: ConfigMap "c" in namespace "prod" exists and cannot be '
        "imported into the current release: invalid ownership metadata; label validation error",
        ManifestRefused,
    ),
    (
        'Error: UPGRADE FAILED: create: failed to create: Secret "sh.helm.release.v1.x.v2" is invalid: data: Too long: may '
        "not be more than 1048576 bytes",
        Permanent,
    ),
    ("Error: UPGRADE FAILED: context canceled", HelmFailed),
    ("Error: something new\nwith two lines", HelmFailed),
]


@pytest.mark.parametrize(("stderr", "meaning"), MEANINGS, ids=[text[:60] for text, _ in MEANINGS])
def test_each_text_has_its_meaning(stderr: str, meaning: type[BotError]) -> None:
    error = fail(stderr)
    assert type(error) is meaning
    assert error.evidence


@pytest.mark.parametrize(
    ("meaning", "kind"),
    [
        (ReleasePending, Refused),
        (ReleaseNotFound, UserMistake),
        (ClusterUnreachable, Temporary),
        (RepositoryUnreachable, Temporary),
        (RenderFailed, Permanent),
        (NotReadyInTime, Permanent),
    ],
)
def test_whoever_catches_by_meaning_gets_the_special_cases(meaning: type[BotError], kind: type[BotError]) -> None:
    assert issubclass(meaning, kind)


BROKEN = 'Error: UPGRADE FAILED: Get "https://10.0.0.1/apis/apps/v1/namespaces/prod/deployments/web": unexpected EOF\n'


def test_a_connection_that_breaks_in_a_change_leaves_the_outcome_unknown() -> None:
    assert isinstance(fail(BROKEN), OutcomeUnknown)


def test_a_connection_that_breaks_in_a_read_is_temporary() -> None:
    assert isinstance(fail(BROKEN, command="status", mutating=False), Temporary)


def test_a_killed_upgrade_leaves_the_outcome_unknown_and_a_killed_read_does_not() -> None:
    assert isinstance(fail("level=DEBUG msg=x\n", exit_code=-9), OutcomeUnknown)
    assert isinstance(fail("", exit_code=-15, command="status", mutating=False), Temporary)


def test_the_log_and_the_stack_trace_are_not_part_of_the_message() -> None:
    text = error_text(
        'level=DEBUG msg="getting history" release=x\nupgrade.go:164: 2025-06-01 10:00:00 +0000 UTC m=+0.05 [debug] x\n'
        "Error: UPGRADE FAILED: first line\nsecond line\n"
        "helm.go:86: 2025-06-01 10:00:00 +0000 UTC m=+0.06 [debug] first line\nhelm.sh/helm/v3/pkg/action.init\n\t/x.go:3\n"
    )
    assert text == "first line\nsecond line"
