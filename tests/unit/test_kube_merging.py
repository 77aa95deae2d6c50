"""The patch of client-side apply: what it sets, what it takes away, and when it is empty."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bot.kube.merging import client_side_patch

Json = dict[str, Any]
OWN, CUSTOM = {"apiVersion": "apps/v1", "kind": "Deployment"}, {"apiVersion": "example.com/v1", "kind": "Foo"}


def applied(target: Any, patch: Any) -> Any:
    """RFC 7386, as its own pseudo code has it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = applied(result.get(key), value)
    return result


def test_what_the_api_server_has_filled_in_is_left_alone() -> None:
    new = {**OWN, "spec": {"replicas": 2, "containers": [{"name": "a", "image": "b"}]}}
    live = {**OWN, "spec": {"replicas": 2, "paused": False, "containers": [{"name": "a", "image": "b", "tty": False}]}}
    assert client_side_patch(new, live, new) == {}


def test_what_somebody_changed_is_set_back_in_kubernetes_own_kinds_and_stays_in_others() -> None:
    for kind, patch in ((OWN, {"spec": {"replicas": 2}}), (CUSTOM, {})):
        new = {**kind, "spec": {"replicas": 2}}
        assert client_side_patch(new, {**kind, "spec": {"replicas": 5}}, new) == patch


def test_what_the_chart_no_longer_says_is_taken_away_and_what_others_added_stays() -> None:
    old = {**OWN, "spec": {"replicas": 2, "strategy": {"type": "Recreate", "more": 1}}}
    live = {**OWN, "spec": {"replicas": 2, "strategy": {"type": "Recreate", "more": 1}, "paused": True}}
    new = {**OWN, "spec": {"strategy": {"type": "Recreate"}}}
    assert client_side_patch(old, live, new) == {"spec": {"replicas": None, "strategy": {"more": None}}}


def test_a_list_that_changes_is_sent_whole() -> None:
    old = {**OWN, "spec": {"args": ["a", "b"]}}
    assert client_side_patch(old, old, {**OWN, "spec": {"args": ["b"]}}) == {"spec": {"args": ["b"]}}


VALUES = st.recursive(
    st.integers() | st.text(max_size=3) | st.booleans(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=2), below, max_size=3),
    max_leaves=8,
)
SPECS = st.dictionaries(st.text(max_size=2), VALUES, max_size=4)


@given(SPECS, SPECS)
def test_a_custom_resource_that_nobody_touched_becomes_what_the_chart_says(old: Json, new: Json) -> None:
    before, after = {**CUSTOM, "spec": old}, {**CUSTOM, "spec": new}
    assert applied(before, client_side_patch(before, before, after)) == after
