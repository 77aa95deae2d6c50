"""Which backup holds what an upgrade deletes: never said of a Secret, of Qdrant's own volume, or of what nobody backs up."""

from __future__ import annotations

from typing import Any

import pytest

from bot.settings import Target
from runbooks.steps.backup import saved_by


def target(**more: Any) -> Target:
    given = {"name": "prod", "namespace": "n", "release": "aeterna", "chart": {"path": "."}, **more}
    return Target.model_validate(given)


def lost(because_of: str, kind: str, name: str) -> dict[str, str]:
    return {"because_of": because_of, "kind": kind, "name": name}


@pytest.mark.parametrize(
    ("one", "more", "said"),
    [
        (lost("Cluster/pg", "Cluster", "pg"), {}, ("postgres.backup", "")),
        (lost("Cluster/pg", "PersistentVolumeClaim", "pg-1"), {"database": {"cluster": "pg"}}, ("postgres.backup", "")),
        (lost("Cluster/pg", "Secret", "pg-app"), {}, ("", "no backup holds a Secret")),
        (lost("Cluster/pg", "Cluster", "pg"), {"database": {"cluster": "other"}}, ("", "no step backs it up")),
        (lost("Cluster/pg", "Cluster", "pg"), {"database": {"kind": "none"}}, ("", "no step backs it up")),
        (
            lost("StatefulSet/aeterna-qdrant", "PersistentVolumeClaim", "q-0"),
            {},
            ("", "Qdrant's snapshots lie on the volume that goes"),
        ),
        (lost("Dragonfly/cache", "PersistentVolumeClaim", "df-0"), {}, ("", "no step backs it up")),
        (lost("Secret/keys", "Secret", "keys"), {}, ("", "no backup holds a Secret")),
    ],
)
def test_what_holds_the_data_of_a_lost_object(one: dict[str, str], more: dict[str, Any], said: tuple[str, str]) -> None:
    assert saved_by(one, target(**more)) == said
