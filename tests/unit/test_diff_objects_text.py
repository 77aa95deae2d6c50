"""Differences as text: stable, quiet about noise, and without a secret, though that one changed is seen."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Any

import pytest

from bot.diff import objects
from bot.diff.masking import shown
from bot.diff.unified import aligned, drift_lines, field_lines, noise_lines, object_text, values_text

Json = dict[str, Any]
LEAK = "hunter2-of-mine"
OTHER = "tr0ub4dor-and-3"


def mark(text: str) -> str:
    return hmac.new(b"key", text.encode(), hashlib.sha256).hexdigest()[:8]


def packed(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def obj(kind: str, **more: Any) -> Json:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "it"}, **more}


def both(old: Json | None, new: Json | None, live: Any = objects.UNREAD) -> tuple[objects.Pair, objects.ObjectChange]:
    (pair,) = objects.pairs([old] if old else [], [new] if new else [], namespace="n")
    return pair, objects.compare_object(pair, live)


def pod(value: str) -> Json:
    return obj("Pod", spec={"containers": [{"name": "c", "env": [{"name": "DB_PASSWORD", "value": value}]}]})


LEAKS = [
    (obj("Secret", stringData={"p": LEAK}), obj("Secret", stringData={"p": OTHER})),
    (obj("Secret", data={"p": LEAK}), obj("Secret", data={"p": OTHER})),
    (obj("Secret", data={"p": LEAK}), None),
    (None, obj("Secret", data={"p": OTHER})),
    (None, obj("Secret", stringData={"config.json": f'{{"db": {{"password": "{OTHER}"}}}}'})),
    (obj("Secret", stringData={"p": LEAK}), None),
    (obj("Secret", stringData={"p": LEAK}), obj("Secret", data={"p": packed(OTHER)})),
    (obj("Secret", data={"p": packed(LEAK)}), obj("Secret", data={"p": packed(OTHER), "more": packed(LEAK)})),
    (
        obj("ConfigMap", data={"tool.b64": packed(f"user: me\npassword: {LEAK}\n")}),
        obj("ConfigMap", data={"tool.b64": packed(f"user: me\npassword: {OTHER}\n")}),
    ),
    (
        obj("ConfigMap", data={"f": f"db:\n  password: |\n    {LEAK}\n  port: 1\n"}),
        obj("ConfigMap", data={"f": f"db:\n  password: |\n    {OTHER}\n  port: 1\n"}),
    ),
    (obj("ConfigMap", data={"DB_PASSWORD": LEAK}), obj("ConfigMap", data={"DB_PASSWORD": OTHER})),
    (
        obj("ConfigMap", data={"f": f"a: 1\npassword: {LEAK}\nb: 2\n"}),
        obj("ConfigMap", data={"f": f"a: 1\npassword: {OTHER}\n"}),
    ),
    (
        obj("ConfigMap", data={"url": f"postgres://me:{LEAK}@h/d"}),
        obj("ConfigMap", data={"url": f"postgres://me:{OTHER}@h/d"}),
    ),
    (pod(LEAK), pod(OTHER)),
    (obj("Thing", spec={"auth": {"password": LEAK}}), obj("Thing", spec={"auth": {"password": OTHER}})),
    (obj("Thing", spec={"adminToken": [LEAK]}), obj("Thing", spec={"adminToken": [OTHER]})),
]


@pytest.mark.parametrize(("old", "new"), LEAKS)
def test_a_secret_shows_that_it_changed_and_never_what(old: Json | None, new: Json | None) -> None:
    live = old if old else objects.UNREAD
    pair, change = both(old, new, live)
    text = object_text(pair, change, mark)
    lines = [*field_lines(change, mark), *drift_lines(change, mark)]
    assert "[redacted]" in text
    for secret in (LEAK, OTHER, packed(LEAK), packed(OTHER)):
        assert secret not in text + "\n".join(lines) + repr(change) + repr(pair)
    changed = [line for line in text.splitlines()[2:] if line.startswith(("+", "-"))]
    assert changed
    marks = [re.findall(r"\((\w{8})\)", "\n".join(one for one in changed if one.startswith(side))) for side in "-+"]
    assert marks[0] != marks[1]


@pytest.mark.parametrize(("old", "new"), LEAKS)
def test_drift_of_a_secret_is_masked_as_well(old: Json | None, new: Json | None) -> None:
    if old and new:
        _, change = both(old, old, new)
        lines = "\n".join(drift_lines(change, mark))
        assert lines
        assert LEAK not in lines
        assert OTHER not in lines


def test_the_mark_of_a_secret_changes_with_it_and_only_with_it() -> None:
    assert shown("a", ("data", "p"), mark, kind="Secret") == shown("a", ("data", "p"), mark, kind="Secret")
    assert shown("a", ("data", "p"), mark, kind="Secret") != shown("b", ("data", "p"), mark, kind="Secret")
    assert values_text({"password": LEAK, "a": 1}, {"a": 1, "password": LEAK}, mark) == ""


def test_pointers_to_secrets_are_shown() -> None:
    reference = {"secretKeyRef": {"name": "db", "key": "password"}}
    old = obj("Pod", spec={"containers": [{"name": "c", "env": [{"name": "P", "valueFrom": reference}]}]})
    new = obj("Pod", spec={"containers": [{"name": "c", "env": [{"name": "P", "valueFrom": {
        "secretKeyRef": {"name": "db2", "key": "password"}}}]}]})  # fmt: skip
    (line,) = field_lines(both(old, new)[1], mark)
    assert line.startswith('spec.containers[c].env[P].valueFrom.secretKeyRef.name: "db" → "db2"')


def test_the_order_of_named_lists_and_noise_leave_no_trace_in_the_text() -> None:
    def made(chart: str, image: str, *names: str) -> Json:
        made = obj("Deployment", spec={"template": {
            "metadata": {"annotations": {"checksum/config": chart}},
            "spec": {"containers": [{"name": name, "image": image} for name in names]},
        }})  # fmt: skip
        made["apiVersion"] = "apps/v1"
        made["metadata"]["labels"] = {"helm.sh/chart": chart, "keep": "me"}
        return made

    assert object_text(*both(made("1", "i", "a", "b"), made("2", "i", "b", "a")), mark) == ""
    pair, change = both(made("1", "i", "a", "b"), made("2", "j", "b", "a"))
    text = object_text(pair, change, mark)
    assert text.splitlines()[:2] == ["--- Deployment/it now", "+++ Deployment/it then"]
    assert [line.strip() for line in text.splitlines()[2:] if line[0] in "+-"] == [
        "-      - image: i", "+      - image: j", "-      - image: i", "+      - image: j",
    ]  # fmt: skip
    assert [line.partition(":")[0] for line in noise_lines([change])] == ["3 differences folded"]


def test_alignment_puts_what_is_new_last() -> None:
    old = [{"name": "a"}, {"name": "b"}]
    assert aligned(old, [{"name": "c"}, {"name": "b", "x": 1}, {"name": "a"}]) == [
        {"name": "a"},
        {"name": "b", "x": 1},
        {"name": "c"},
    ]


def test_a_text_of_several_lines_shows_the_line_that_differs() -> None:
    old, new = obj("ConfigMap", data={"f": "one\ntwo\nthree\n"}), obj("ConfigMap", data={"f": "one\n2\nthree\n"})
    text = object_text(*both(old, new), mark)
    assert "-    two\n+    2" in text


def test_what_happens_to_the_object_stands_in_its_heading() -> None:
    kept = obj("ConfigMap", data={"a": "1"})
    kept["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
    assert "--- ConfigMap/it (stays, by its keep policy) now" in object_text(*both(kept, None), mark)
    frozen = obj("ConfigMap", data={"a": "1"}, immutable=True)
    text = object_text(*both(frozen, {**frozen, "data": {"a": "2"}}), mark)
    assert "(must be deleted and created again)" in text


def test_the_lines_tell_the_three_sides_who_and_when() -> None:
    old, new, live = (obj("Thing", spec={"size": size}) for size in (1, 2, 3))
    live["metadata"]["managedFields"] = [
        {"manager": "kubectl-edit", "time": "2026-02-01T10:00:00Z", "fieldsV1": {"f:spec": {"f:size": {}}}}
    ]
    _, change = both(old, new, live)
    assert field_lines(change, mark) == ["spec.size: 1 → 2 (in the cluster: 3)"]
    assert drift_lines(change, mark) == [
        "spec.size: 3 instead of 1, by kubectl-edit at 2026-02-01T10:00:00Z; the upgrade says 2"
    ]
    assert drift_lines(both(old, old, None)[1], mark) == ["is not in the cluster any more: somebody deleted it"]


def test_a_long_value_says_how_much_is_left_out() -> None:
    line = shown("x" * 1000, ("spec", "a"), mark)
    assert len(line) < 330
    assert line.endswith("… (742 more characters)")


def test_values_are_compared_as_text() -> None:
    text = values_text({"a": {"b": [2, 1]}, "token": LEAK}, {"a": {"b": [1, 2]}, "token": OTHER}, mark)
    assert text.startswith("--- values now\n+++ values then\n")
    assert LEAK not in text
    assert mark(LEAK) in text
    assert mark(OTHER) in text
