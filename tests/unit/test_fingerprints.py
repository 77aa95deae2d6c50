"""Keyed fingerprints: the same everywhere for the same, telling nothing, and void in plain words under another key."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bot.engine.planner import differences
from bot.fingerprints import OTHER_KEY, Fingerprints, other_key
from bot.store.records import PlanRecord
from tests.unit.test_plan_json import JSON, shuffled

TOKEN = "xoxb-" + "1-2-abc"
ELSEWHERE = """
import json, sys
from bot.fingerprints import Fingerprints
given = json.load(sys.stdin)
print(Fingerprints(given["token"], scope="prod").digest(given["values"]))
"""


def _plan(**bindings: str) -> PlanRecord:
    return PlanRecord("d", (), {}, bindings)


@given(st.dictionaries(st.text(max_size=6), JSON, max_size=6), st.integers())
def test_the_order_of_maps_does_not_matter_and_two_replicas_agree(values: dict[str, Any], seed: int) -> None:
    digest = Fingerprints(TOKEN, scope="prod").digest(values)
    assert Fingerprints(TOKEN, scope="prod").digest(shuffled(values, random.Random(seed))) == digest
    assert not other_key(digest, digest)


def test_another_process_on_another_host_at_another_time_gives_the_same_digest() -> None:
    values = {"b": [1, {"z": "ü", "a": None}], "a": {"password": "hunter22", "port": 5432}}
    told = json.dumps({"token": TOKEN, "values": dict(reversed(values.items()))})
    for more in (
        {"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo"},
        {"PYTHONHASHSEED": "2", "HOSTNAME": "other", "LANG": "C"},
    ):
        done = subprocess.run(
            [sys.executable, "-c", ELSEWHERE],
            input=told,
            env=os.environ | more,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == Fingerprints(TOKEN, scope="prod").digest(values)


@given(JSON, JSON)
def test_other_values_have_another_digest(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    ours = Fingerprints(TOKEN)
    assert (ours.digest(one) == ours.digest(other)) == same


def test_without_the_key_a_short_secret_cannot_be_guessed_from_its_fingerprint() -> None:
    ours, others = Fingerprints(TOKEN), Fingerprints(TOKEN + "x")
    assert ours.mark("1234") != others.mark("1234")
    assert hashlib.sha256(b'"1234"').hexdigest() not in ours.digest("1234")
    assert ours.mark("1234") != Fingerprints(TOKEN, scope="staging").mark("1234")
    assert TOKEN not in repr(ours.__dict__)


def test_a_renewed_token_voids_a_plan_with_the_reason_and_real_changes_are_still_named() -> None:
    old, new = Fingerprints(TOKEN), Fingerprints(TOKEN + "x")
    values = {"a": 1}
    before = _plan(values=old.digest(values), manifest=old.digest([1]), revision="1")
    assert differences(before, _plan(values=new.digest(values), manifest=new.digest([1]), revision="1")) == [OTHER_KEY]
    changed = differences(before, _plan(values=new.digest(values), manifest=new.digest([1]), revision="2"))
    assert changed == ["revision: 1 → 2", OTHER_KEY]
    (said,) = differences(before, _plan(values=old.digest({"a": 2}), manifest=old.digest([1]), revision="1"))
    assert said == "values"
