"""What is said of a restored database beside the old one: the same, what differs and why, and what makes it useless."""

from __future__ import annotations

from collections.abc import Mapping

from bot.probe.result import Count, Migration, ProbeResult
from runbooks.restored import Judged, Verdict, judged

AT = "2026-03-09 17:55 UTC"
ROWS = {"_aeterna_migrations": 17, "memories": 1200, "tenants": 4}


def seen(
    rows: Mapping[str, int] = ROWS,
    *,
    migration: str | None = "17",
    version: str = "17.2",
    roughly: tuple[str, ...] = (),
    read_only: bool = False,
) -> ProbeResult:
    return ProbeResult(
        "postgres",
        product="PostgreSQL",
        version=version,
        counts=tuple(Count(name, number, name not in roughly) for name, number in rows.items()),
        newest_migration=Migration(migration, "tenant_quota") if migration else None,
        read_only=read_only,
    )


def judge(new: ProbeResult, old: ProbeResult | None) -> Judged:
    return judged(new, old, old_name="aeterna-cnpg", point=AT)


def test_the_same_migration_and_the_same_rows_are_consistent() -> None:
    found = judge(seen(), seen())
    assert found.verdict is Verdict.SAME
    assert found.said == (
        "PostgreSQL 17.2, newest migration 17 (tenant_quota), 3 tables with 1221 rows.",
        "Its rows are those of aeterna-cnpg, table by table.",
    )
    assert found.lines[0].split() == ["table", "restored", "aeterna-cnpg"]
    assert found.lines[2].split() == ["memories", "1200", "1200"]


def test_rows_that_were_written_after_the_recovery_point_are_missing_as_expected() -> None:
    found = judge(seen(), seen({**ROWS, "memories": 1212, "tenants": 5}))
    assert found.verdict is Verdict.DIFFERS
    assert found.said[1] == (
        f"13 rows fewer than aeterna-cnpg (memories −12, tenants −1): what was written after {AT} is not in it, as expected."
    )


def test_rows_that_somebody_deleted_since_are_named() -> None:
    found = judge(seen(), seen({**ROWS, "memories": 0}))
    assert found.verdict is Verdict.DIFFERS
    assert found.said[1] == f"1200 rows more (memories +1200): deleted from aeterna-cnpg since {AT}."


def test_a_newer_migration_of_the_old_one_explains_the_tables_that_are_not_there_yet() -> None:
    found = judge(seen(), seen({**ROWS, "_aeterna_migrations": 18, "quotas": 3}, migration="18"))
    assert found.verdict is Verdict.DIFFERS
    assert "aeterna-cnpg has newest migration 18 (tenant_quota); quotas came with it." in found.said
    assert len(found.said) == 2, "the rows of the table of migrations are told once"


def test_a_table_that_is_missing_at_the_same_migration_makes_it_useless() -> None:
    found = judge(seen({"_aeterna_migrations": 17, "tenants": 4}), seen())
    assert found.verdict is Verdict.BAD
    assert found.said[-1] == "1 table of aeterna-cnpg missing, and no migration explains it: memories."


def test_a_database_without_tables_or_without_migrations_is_useless() -> None:
    empty = judge(seen({}, migration=None), seen())
    assert (empty.verdict, empty.said) == (Verdict.BAD, ("It has no tables at all.",))
    other = judge(seen({"invoices": 3}, migration=None), None)
    assert (other.verdict, other.said) == (
        Verdict.BAD,
        ("It has no _aeterna_migrations, so this is not Aeterna's database.",),
    )


def test_without_the_old_one_it_is_told_what_is_there_and_nothing_is_called_the_same() -> None:
    found = judge(seen(), None)
    assert found.verdict is Verdict.DIFFERS
    assert found.said == ("PostgreSQL 17.2, newest migration 17 (tenant_quota), 3 tables with 1221 rows.",)


def test_estimates_another_version_and_a_standby_are_told() -> None:
    found = judge(seen(roughly=("memories",), read_only=True), seen({**ROWS, "memories": 9}, version="16.4"))
    assert found.verdict is Verdict.DIFFERS
    assert found.said[1:] == (
        "aeterna-cnpg is PostgreSQL 16.4.",
        "Only estimated, not counted: memories.",
        "It is read-only: a standby answers, not a primary.",
    )
    assert any("~1200" in line for line in found.lines)
