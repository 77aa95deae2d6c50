"""The new Cluster of a restore: what it takes from the old one, where its data comes from, and what it never shares."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from bot.services.cnpg import BackupResult
from bot.services.cnpg_recovery import RECOVERED_FROM, Kept, archive_of, recovered

AT = datetime(2026, 3, 9, 18, 0, tzinfo=UTC)
STORE = {"destinationPath": "s3://backups", "serverName": "aeterna-cnpg-old"}
PLUGIN = {"name": "barman-cloud.cloudnative-pg.io", "isWALArchiver": True, "parameters": {"barmanObjectName": "store"}}


def old(**spec: Any) -> dict[str, Any]:
    told = {
        "instances": 3,
        "storage": {"size": "10Gi"},
        "bootstrap": {"initdb": {"database": "a", "owner": "b"}},
        **spec,
    }
    meta = {"name": "aeterna-cnpg", "namespace": "n", "uid": "1", "annotations": {"cnpg.io/hibernation": "on"}}
    return {"metadata": meta, "spec": told, "status": {"image": "ghcr.io/cloudnative-pg/postgresql:16.4"}}


def backup(method: str, *snapshots: dict[str, str]) -> Kept:
    return Kept(BackupResult("b", "completed", "20260309T170000", stopped_at=AT, method=method), {}, snapshots)


def test_the_spec_is_that_of_the_old_one_without_its_name_its_past_and_its_folders() -> None:
    given = old(
        superuserSecret={"name": "super"},
        postgresql={"parameters": {"max_connections": "100"}},
        externalClusters=[{"name": "elsewhere"}],
        replica={"enabled": False},
        backup={"barmanObjectStore": STORE},
        managed={"roles": [{"name": "r"}], "services": {"additional": []}},
    )
    made = recovered(given, "new", backup=backup("barmanObjectStore"), at=None, labels={"run": "r1"})
    assert made["metadata"] == {
        "name": "new",
        "namespace": "n",
        "labels": {"run": "r1", RECOVERED_FROM: "aeterna-cnpg"},
    }
    spec = made["spec"]
    assert (spec["instances"], spec["storage"], spec["superuserSecret"]) == (3, {"size": "10Gi"}, {"name": "super"})
    assert spec["postgresql"] == {"parameters": {"max_connections": "100"}}
    assert spec["imageName"] == "ghcr.io/cloudnative-pg/postgresql:16.4"
    assert spec["managed"] == {"roles": [{"name": "r"}]}
    assert not {"replica", "externalClusters"} & set(spec)
    assert spec["backup"] == {"barmanObjectStore": {"destinationPath": "s3://backups"}}
    assert given["spec"]["backup"]["barmanObjectStore"] is STORE
    assert "serverName" in STORE


def test_a_backup_is_restored_as_it_ended_and_not_with_all_that_was_archived_since() -> None:
    made = recovered(old(), "new", backup=backup("barmanObjectStore"), at=None)
    assert made["spec"]["bootstrap"] == {
        "recovery": {
            "database": "a",
            "owner": "b",
            "backup": {"name": "b"},
            "recoveryTarget": {"backupID": "20260309T170000", "targetImmediate": True},
        }
    }


def test_a_time_is_recovered_from_the_folder_of_the_old_one() -> None:
    made = recovered(old(backup={"barmanObjectStore": STORE}), "new", backup=None, at=AT)
    recovery = made["spec"]["bootstrap"]["recovery"]
    assert recovery["source"] == "aeterna-cnpg"
    assert recovery["recoveryTarget"] == {"targetTime": "2026-03-09T18:00:00Z"}
    assert made["spec"]["externalClusters"] == [{"name": "aeterna-cnpg", "barmanObjectStore": STORE}]


def test_what_a_plugin_made_is_found_by_the_plugin_and_its_id() -> None:
    made = recovered(old(plugins=[PLUGIN]), "new", backup=backup("plugin"), at=None)
    recovery = made["spec"]["bootstrap"]["recovery"]
    assert recovery["source"] == "aeterna-cnpg"
    assert recovery["recoveryTarget"] == {"backupID": "20260309T170000", "targetImmediate": True}
    (source,) = made["spec"]["externalClusters"]
    assert source["plugin"]["parameters"] == {"barmanObjectName": "store", "serverName": "aeterna-cnpg"}
    assert made["spec"]["plugins"] == [PLUGIN]


def test_volume_snapshots_are_named_by_what_they_hold() -> None:
    kept = backup("volumeSnapshot", {"name": "s1", "type": "PG_DATA"}, {"name": "s2", "type": "PG_WAL"})
    made = recovered(old(), "new", backup=kept, at=None)["spec"]["bootstrap"]["recovery"]
    assert {key: one["name"] for key, one in made["volumeSnapshots"].items()} == {"storage": "s1", "walStorage": "s2"}
    assert "recoveryTarget" not in made


def test_a_backup_without_an_id_or_without_an_end_cannot_be_used() -> None:
    assert backup("barmanObjectStore").usable
    assert not Kept(BackupResult("b", "completed", "", stopped_at=AT, method="barmanObjectStore")).usable
    assert not Kept(BackupResult("b", "completed", "1", method="barmanObjectStore")).usable
    assert not Kept(BackupResult("b", "running", "1", stopped_at=AT)).usable
    assert not backup("volumeSnapshot").usable


def test_an_archive_that_stopped_working_ends_then() -> None:
    given = old(backup={"barmanObjectStore": STORE})
    when = {"lastTransitionTime": "2026-03-09T18:00:00Z", "message": "no space"}
    given["status"]["conditions"] = [{"type": "ContinuousArchiving", "status": "False", **when}]
    archive = archive_of(given)
    assert (archive.ends, archive.trouble) == (AT, "no space")
    assert archive_of(old()).source is None
