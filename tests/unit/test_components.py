"""The description of components: the order in which they go down and come back."""

from __future__ import annotations

import pytest

from bot.components import SHIPPED, Component, check_needs, needed_by, stages

COMPONENTS = {name: Component.model_validate(entry) for name, entry in SHIPPED.items()}


def test_the_shipped_description_says_what_stops_for_each() -> None:
    check_needs(COMPONENTS)
    assert all(component.stops and component.title for component in COMPONENTS.values())


def test_what_is_needed_comes_back_first_and_what_nobody_describes_last() -> None:
    order = stages(COMPONENTS, ["extra", "okta-proxy", "server", "postgres", "cedar-agent", "opal-server"])
    assert order == [["postgres", "opal-server"], ["cedar-agent"], ["server"], ["okta-proxy"], ["extra"]]


def test_who_needs_a_component_is_known() -> None:
    assert needed_by(COMPONENTS, "cedar-agent") == ["server", "opal-fetcher"]


def test_members_are_named_after_the_release() -> None:
    assert COMPONENTS["server"].members("mine") == ("Deployment/mine", "CronJob/mine-github-sync")


def test_a_workload_without_a_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="workloads"):
        Component(workloads=("aeterna",))
