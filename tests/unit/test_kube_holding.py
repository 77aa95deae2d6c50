"""Notes on workloads, and the bounds with which an autoscaler leaves them alone."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bot.kube.holding import ANNOTATION, HIBERNATION, Autoscaler, Held, Way, change, pointer, workload_of

NOTE = Held(replicas=3, to=0, run="r1", by="U1", at="2026-03-09T18:02:00", component="server")
TEXTS = st.text(max_size=40).map(lambda text: " ".join(text.split()))
NAMES = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,30}[a-z0-9])?", fullmatch=True)
BOUNDS = st.builds(Autoscaler, NAMES, st.integers(0, 9), st.integers(1, 99))


@given(st.builds(Held, st.integers(0, 999), st.integers(0, 9), TEXTS, TEXTS, TEXTS, TEXTS, st.none() | BOUNDS))
def test_a_note_is_read_as_it_was_written(note: Held) -> None:
    whole = replace(note, pinned=note.hpa.pinned(note.to) if note.hpa else None)
    assert Held.read(whole.text()) == whole


def test_what_is_no_note_is_none() -> None:
    assert [Held.read(text) for text in ("", "{", "[]", "{}", '{"replicas": "many"}')] == [None] * 5


def test_an_autoscaler_is_pinned_where_it_would_bring_the_workload_back() -> None:
    hpa = Autoscaler("aeterna", 2, 10)
    assert hpa.pinned(0) is None, "inactive at zero"
    assert hpa.pinned(1) == Autoscaler("aeterna", 1, 1)
    assert Autoscaler("aeterna", 1, 1).pinned(1) is None
    assert Autoscaler("aeterna", 0, 10).pinned(0) == Autoscaler("aeterna", 1, 10), "with HPAScaleToZero it is active"


def test_every_kind_has_a_level() -> None:
    def level(kind: str, *, annotations: dict[str, str] | None = None, **spec: object) -> int:
        meta = {"name": "x", "namespace": "n", "annotations": annotations or {}}
        return workload_of({"apiVersion": "v1", "kind": kind, "metadata": meta, "spec": spec}).level

    assert (level("Deployment", replicas=3), level("Deployment", replicas=0), level("Rollout")) == (3, 0, 1)
    assert (level("CronJob"), level("CronJob", suspend=True), level("Canary", suspend=False)) == (1, 0, 1)
    assert (level("Cluster", instances=3), level("Cluster", annotations={HIBERNATION: "on"})) == (1, 0)


def test_what_is_not_scaled_is_changed_on_the_object_itself() -> None:
    assert change(Way.SCALE, 0) == []
    assert change(Way.SUSPEND, 0) == [{"op": "add", "path": "/spec/suspend", "value": True}]
    assert change(Way.HIBERNATE, 1)[0]["value"] == "off"
    assert pointer(ANNOTATION) == "/metadata/annotations/aeterna-bot.io~1held"
