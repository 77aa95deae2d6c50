"""Releases read from their Secrets."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.errors import Permanent
from bot.helm.failures import ReleaseNotFound, RevisionNotFound
from bot.helm.models import ChartRef, Revision, Status
from bot.helm.releases import (
    ReleaseStore,
    decode_release,
    newest_good,
    pending,
    rollback_target,
)

Secret = dict[str, Any]


def secret(revision: int, status: str, *, version: str = "0.1.0", labels: dict[str, str] | None = None) -> Secret:
    release = {
        "name": "aeterna",
        "namespace": "prod",
        "version": revision,
        "info": {
            "status": status,
            "description": "Upgrade complete",
            "first_deployed": "2026-01-01T00:00:00Z",
            "last_deployed": "2026-11-22T15:22:33.123456789+02:00",
            "deleted": "",
        },
        "chart": {
            "metadata": {"name": "aeterna", "version": version, "appVersion": "1"},
            "values": {"replicas": 1},
            "schema": base64.b64encode(b'{"type": "object"}').decode(),
            "files": [
                {"name": "crds/a.yaml", "data": base64.b64encode(b"kind: CustomResourceDefinition").decode()},
                {"name": "crds/b.yaml", "data": "no base64"},
                {"name": "README.md", "data": "eA=="},
            ],
        },
        "config": {"password": "hunter2"},
        "manifest": "---\nkind: Secret\n",
        "hooks": [
            {
                "name": "migrate",
                "kind": "Job",
                "events": ["pre-upgrade"],
                "last_run": {"started_at": "", "completed_at": "", "phase": "Succeeded"},
            }
        ],
        "apply_method": "ssa",
    }
    return packed(json.dumps(release).encode(), revision, status, labels or {})


def packed(text: bytes, revision: int, status: str, labels: dict[str, str]) -> Secret:
    system = {"owner": "helm", "name": "aeterna", "status": status, "version": str(revision), "modifiedAt": "1"}
    return {
        "metadata": {"name": f"sh.helm.release.v1.aeterna.v{revision}", "labels": system | labels},
        "type": "helm.sh/release.v1",
        "data": {"release": base64.b64encode(base64.b64encode(gzip.compress(text))).decode()},
    }


class Secrets:
    """A reader over a list, which selects as the API server does."""

    def __init__(self, *secrets: Secret) -> None:
        self.secrets_ = secrets

    async def secrets(self, namespace: str, label_selector: str, *, metadata_only: bool = False) -> list[Secret]:
        wanted = dict(part.split("=") for part in label_selector.split(","))
        found = [s for s in self.secrets_ if wanted.items() <= s["metadata"]["labels"].items()]
        return [{"metadata": s["metadata"]} for s in found] if metadata_only else found


def store(*secrets: Secret) -> ReleaseStore:
    return ReleaseStore(Secrets(*secrets), namespace="prod", release="aeterna")


def test_a_stored_release_is_read_whole() -> None:
    release = decode_release(secret(3, "deployed", labels={"bot/run": "r-7"}))
    assert (release.name, release.namespace, release.revision, release.status) == (
        "aeterna",
        "prod",
        3,
        Status.DEPLOYED,
    )
    assert release.chart == ChartRef("aeterna", "0.1.0", "1")
    assert release.labels == {"bot/run": "r-7"}
    assert (release.config, release.chart_values) == ({"password": "hunter2"}, {"replicas": 1})
    assert release.chart_schema == {"type": "object"}
    assert release.chart_crds == {"crds/a.yaml": "kind: CustomResourceDefinition"}
    assert release.last_deployed is not None
    assert release.last_deployed.isoformat() == "2026-11-22T13:22:33.123456+00:00"
    assert [(hook.name, hook.phase, hook.started) for hook in release.hooks] == [("migrate", "Succeeded", None)]
    assert "hunter2" not in repr(release)


def test_a_release_that_unpacks_to_too_much_is_not_read() -> None:
    bomb = packed(b'{"name": "' + b"a" * 1_000_000 + b'"}', 1, "deployed", {})
    with pytest.raises(Permanent, match="unpacks to more than 10000 bytes"):
        decode_release(bomb, largest=10_000)


@pytest.mark.parametrize("data", ["", "!!", base64.b64encode(b"!!").decode(), None])
def test_a_damaged_release_is_an_error_that_names_its_secret(data: str | None) -> None:
    with pytest.raises(Permanent):
        decode_release({"metadata": {"name": "sh.x"}, "data": {"release": data}})


@given(st.binary(max_size=200))
def test_no_bytes_make_reading_fail_in_another_way(data: bytes) -> None:
    for text in (base64.b64encode(data).decode(), base64.b64encode(base64.b64encode(data)).decode()):
        with pytest.raises(Permanent):
            decode_release({"metadata": {}, "data": {"release": text}})


def test_a_release_that_was_cut_off_is_an_error() -> None:
    whole = gzip.compress(b'{"name": "aeterna", "version": 1}')
    data = base64.b64encode(base64.b64encode(whole[:-9])).decode()
    with pytest.raises(Permanent, match="cut off"):
        decode_release({"metadata": {"name": "x"}, "data": {"release": data}})


async def test_history_current_and_single_revisions() -> None:
    releases = store(secret(10, "deployed", version="0.2.1"), secret(9, "superseded"), secret(2, "failed"))
    assert [(r.revision, str(r.chart)) for r in await releases.history()] == [
        (2, "aeterna 0.1.0"),
        (9, "aeterna 0.1.0"),
        (10, "aeterna 0.2.1"),
    ]
    assert (await releases.current()).revision == 10
    assert (await releases.get(9)).status is Status.SUPERSEDED
    with pytest.raises(RevisionNotFound):
        await releases.get(7)


async def test_states_need_no_decoding() -> None:
    broken = secret(3, "pending-upgrade", labels={"bot/run": "r-7"}) | {"data": {}}
    (state,) = await store(broken).states()
    assert (state.revision, state.status, state.labels) == (3, Status.PENDING_UPGRADE, {"bot/run": "r-7"})


async def test_a_release_that_does_not_exist_is_told_so() -> None:
    with pytest.raises(ReleaseNotFound):
        await store().current()
    with pytest.raises(ReleaseNotFound):
        await store().history()
    assert await store().states() == []


def line(revision: int, status: Status, description: str = "Upgrade complete") -> Revision:
    return Revision(revision, status, None, ChartRef("aeterna", "0.1.0"), description)


D, S, F, P = Status.DEPLOYED, Status.SUPERSEDED, Status.FAILED, Status.PENDING_UPGRADE


@pytest.mark.parametrize(
    ("statuses", "good", "target"),
    [
        ([D], 1, None),
        ([S, D], 2, 1),
        ([S, D, F], 2, 2),
        ([S, D, F, F], 2, 2),
        ([S, D, P], 2, 2),
        ([S, F, D], 3, 1),
        ([S, S, F], 2, 2),
        ([F], None, None),
        ([], None, None),
    ],
)
def test_a_rollback_goes_to_the_newest_good_revision(
    statuses: list[Status], good: int | None, target: int | None
) -> None:
    history = [line(number, status) for number, status in enumerate(statuses, start=1)]
    found, back = newest_good(history), rollback_target(history)
    assert (found.revision if found else None, back.revision if back else None) == (good, target)


def test_a_failed_revision_that_a_failed_rollback_marked_superseded_is_not_good() -> None:
    history = [
        line(1, S),
        line(2, S, 'Upgrade "aeterna" failed: context deadline exceeded'),
        line(3, F, 'Rollback "aeterna" failed: timed out'),
    ]
    target = rollback_target(history)
    assert target is not None
    assert target.revision == 1


def test_only_the_newest_revision_can_be_pending() -> None:
    found = pending([line(3, P), line(2, D), line(1, P)])
    assert found is not None
    assert found.revision == 3
    assert pending([line(1, P), line(2, D)]) is None
    assert pending([]) is None
