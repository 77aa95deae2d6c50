"""A service outside: what is typed about it, the values of each chart version, and two looks side by side. Nobody is asked."""

from __future__ import annotations

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bot.diff.values import place
from bot.probe.result import Count, Migration, ProbeResult
from runbooks import external, externalcompare
from runbooks.external import SERVICES, Endpoint, Service
from runbooks.externalfields import FIELDS, REFUSED, looks_secret, read
from runbooks.library import RunbookLibrary
from runbooks.registry import shipped_registry

GOOD = {"host": "db.example.com", "secret": "outside"}
NEW = Endpoint("postgres", "db.example.com", 5432, "aeterna", "aeterna", True, "outside", "postgres-password")
VERSIONS = ("0.1.0", "0.2.1", "0.4.0", "0.5.0", "0.6.0", "0.7.0-rc", "0.8.0-rc.12")
SERVICE = st.sampled_from(SERVICES)
LABEL = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=12).filter(lambda t: t[0].isalpha())
HOST = st.lists(LABEL, min_size=2, max_size=4).map(".".join)


def taken(service: Service, **given_: str) -> Endpoint:
    found, problems = read(service, {**GOOD, **given_}, version="0.2.1")
    assert problems == {}
    assert found is not None
    return found


def wrong(service: Service, field: str, text: str) -> str:
    found, problems = read(service, {**GOOD, field: text})
    assert found is None
    assert list(problems) == [field]
    return problems[field]


# -- fields -------------------------------------------------------------------------------------------------------


def test_what_is_left_out_is_as_usual_for_the_version() -> None:
    assert taken("postgres") == NEW
    assert taken("redis") == Endpoint("redis", "db.example.com", 6379, secret="outside", key="redis-password")
    assert taken("qdrant", secret="") == Endpoint("qdrant", "db.example.com", 6333)
    later, _ = read("redis", GOOD, version="0.8.0-rc.12")
    assert later is not None
    assert later.key == "password"


@given(SERVICE, HOST, st.integers(1, 65_535))
def test_any_name_and_any_port_are_taken_as_they_are(service: Service, host: str, port: int) -> None:
    assume(not host.endswith("localhost"))
    found, problems = read(service, {**GOOD, "host": f" {host.upper()} ", "port": str(port)})
    assert problems == {}
    assert found is not None
    assert (found.host, found.port) == (host, port)


@given(SERVICE, st.dictionaries(st.sampled_from(FIELDS["postgres"]), st.text(max_size=40)))
def test_whatever_is_typed_is_read_or_refused_at_its_field(service: Service, typed: dict[str, str]) -> None:
    found, problems = read(service, typed)
    assert (found is None) is bool(problems)
    assert set(problems) <= set(FIELDS["postgres"])
    assert all(problems.values())


@given(
    SERVICE, st.sampled_from(FIELDS["postgres"]), st.text(string.ascii_letters + string.digits, min_size=4, max_size=20)
)
def test_an_address_with_a_password_in_it_is_refused_wherever_it_stands_and_never_repeated(
    service: Service, field: str, password: str
) -> None:
    assume(field in FIELDS[service])
    assume(password.lower() not in REFUSED.lower())
    typed = f"postgres://aeterna:{password}@db.example.com/aeterna"
    said = wrong(service, field, typed)
    assert typed not in said
    assert password not in said or len(password) < 6


@pytest.mark.parametrize("field", ["user", "database", "secret", "key", "host"])
@pytest.mark.parametrize("typed", ["ghp_" + "a1B2" * 9, "Tr0ub4dor&3x!", "AKIA" + "ABCD1234" * 2])
def test_what_looks_like_a_password_is_refused_by_name(field: str, typed: str) -> None:
    said = wrong("postgres", field, typed)
    assert "assword" in said or "host name" in said
    assert typed not in said


@pytest.mark.parametrize("typed", ["2f7c9e0a1b4d6f8092a3b4c5d6e7f809", "k3j9x0q2m5z8w1v7t4r6"])
def test_a_drawn_password_is_not_taken_for_a_secrets_name(typed: str) -> None:
    assert wrong("redis", "secret", typed) == REFUSED


@pytest.mark.parametrize(
    ("field", "typed", "part"),
    [
        ("host", "", "missing"),
        ("host", "https://db.example.com", "URL"),
        ("host", "db.example.com:5432", "own field"),
        ("host", "localhost", "pod itself"),
        ("host", "127.0.0.1", "pod itself"),
        ("host", "0.0.0.0", "pod itself"),
        ("host", "169.254.169.254", "link-local"),
        ("host", "fd00::7", "IPv6"),
        ("host", "1.2.3", "no host name"),
        ("host", "db example", "no host name"),
        ("host", "a" * 64 + ".example", "no host name"),
        ("port", "0", "1 to 65535"),
        ("port", "65536", "1 to 65535"),
        ("port", "five", "1 to 65535"),
        ("database", "a'; drop table x; --", "63 bytes"),
        ("user", "ä" * 32, "63 bytes"),
        ("tls", "maybe", "on or off"),
        ("secret", "", "missing"),
        ("secret", "Outside", "small letters"),
        ("key", "a/b", "letters, digits"),
    ],
)
def test_what_cannot_be_is_said_at_its_field(field: str, typed: str, part: str) -> None:
    assert part in wrong("postgres", field, typed)


def test_ordinary_names_are_no_passwords() -> None:
    names = ("aeterna", "aeterna-db_2024", "POSTGRES_PASSWORD", "redis-password", "my-release-postgresql-credentials")
    assert [name for name in names if looks_secret(name)] == []
    assert taken("postgres", secret="my-release-postgresql-credentials", key="POSTGRES_PASSWORD_V2", user="svc-Aeterna")


def test_a_service_has_no_fields_of_another() -> None:
    assert "no such setting" in wrong("qdrant", "user", "aeterna")
    assert "no such setting" in wrong("qdrant", "tls", "on")
    assert taken("qdrant", tls="off", key="api-key").tls is False


# -- values -------------------------------------------------------------------------------------------------------


@given(SERVICE, st.sampled_from(VERSIONS), HOST, st.integers(1, 65_535))
def test_the_values_of_every_version_lead_back_to_the_endpoint(
    service: Service, version: str, host: str, port: int
) -> None:
    key = external.fixed_key(service, version) or external.default_key(service, version)
    tls = external.takes_tls(service, version)
    named = ("aeterna", "aeterna") if service == "postgres" else ("", "")
    to = Endpoint(service, host, port, *named, tls, "outside", key)
    values = place({}, external.switch_over(version, to))
    assert external.in_use(values, version, service, release="aeterna") == to
    assert external.host_at(service, version) in external.switch_over(version, to)


@pytest.mark.parametrize(
    ("version", "service", "paths"),
    [
        ("0.5.0", "postgres", {"postgresql.bundled", "postgresql.external.secretKey", "postgresql.external.sslMode"}),
        ("0.5.0", "redis", {"cache.external.enabled", "cache.external.secretKey"}),
        ("0.5.0", "qdrant", {"vectorBackend.qdrant.bundled", "vectorBackend.qdrant.external.existingSecret"}),
        ("0.6.0", "postgres", {"postgresql.passwordKey", "postgresql.username", "postgresql.sslMode"}),
        ("0.6.0", "redis", {"redis.passwordKey", "redis.tls"}),
        ("0.6.0", "qdrant", {"vectorStore.type", "vectorStore.apiKeyKey"}),
    ],
)
def test_all_keys_of_a_switch_are_in_one_set(version: str, service: Service, paths: set[str]) -> None:
    to = Endpoint(service, "h.example", 1, "d", "u", True, "s", "k")
    values = external.switch_over(version, to)
    assert paths <= values.keys()
    assert not any("enabled" in path and value is False for path, value in values.items()), "what is bundled stays on"


def test_what_is_bundled_is_switched_off_by_its_own_keys_and_from_0_6_on_there_is_nothing() -> None:
    assert external.switch_off("0.2.1", "qdrant") == {"qdrant.enabled": False}
    assert external.switch_off("0.2.1", "redis") == {"cache.dragonfly.enabled": False, "dragonfly.enabled": False}
    assert [external.switch_off("0.6.0", service) for service in SERVICES] == [{}, {}, {}]
    assert external.switch_off("0.2.1", "postgres") == {}, "its Cluster left the manifest with the switch-over"


def test_a_switch_without_a_secret_takes_the_old_ones_name_away() -> None:
    to = Endpoint("redis", "cache.example", 6379)
    assert external.switch_over("0.6.0", to)["redis.existingSecret"] == ""
    assert "redis.passwordKey" not in external.switch_over("0.6.0", to)


def test_the_present_one_is_found_by_the_chart_s_own_names() -> None:
    values = {
        "postgresql": {"bundled": True, "cloudnativepg": {"bootstrap": {"initdb": {"database": "d", "owner": "o"}}}}
    }
    found = external.in_use(values, "0.2.1", "postgres", release="prod")
    assert found == Endpoint(
        "postgres", "prod-aeterna-cnpg-rw", 5432, "d", "o", False, "prod-aeterna-cnpg-app", "password"
    )
    assert external.in_use({}, "0.2.1", "redis", release="aeterna") == Endpoint("redis", "aeterna-dragonfly", 6379)
    assert external.in_use({}, "0.6.0", "redis", release="aeterna") is None


# -- side by side -------------------------------------------------------------------------------------------------


def look(*rows: tuple[str, int], version: str = "16.3", **more: object) -> ProbeResult:
    counts = tuple(Count(name, number) for name, number in rows)
    return ProbeResult(
        "postgres",
        product="PostgreSQL",
        version=version,
        size=9_000_000,
        counts=counts,
        empty=not rows,
        **more,  # type: ignore[arg-type]
    )


OLD = look(("memories", 120), ("tenants", 3), newest_migration=Migration("35"))


def shorts(new: ProbeResult, old: ProbeResult | None = OLD, to: Endpoint = NEW, why: str = "") -> list[str]:
    return [one.short for one in externalcompare.warnings(to, new, old, why=why)]


def test_a_whole_copy_needs_no_word() -> None:
    assert shorts(OLD) == []
    assert externalcompare.described(OLD) == "PostgreSQL 16.3, 2 tables, 123 rows, 8.6 MiB"


def test_an_empty_database_is_said_first() -> None:
    (one,) = externalcompare.warnings(NEW, look(), OLD)
    assert one.text.startswith(
        "The data was not copied: PostgreSQL at db.example.com:5432 is empty; the present one has 123"
    )


def test_missing_rows_and_tables_are_named() -> None:
    (one,) = externalcompare.warnings(NEW, look(("memories", 20), newest_migration=Migration("35")), OLD)
    assert one.short == "not all is copied: 20 of 123 rows, 1 table missing"
    assert "memories has 20 of 120, tenants has none of 3" in one.text


def test_an_older_server_another_schema_a_standby_and_no_tls_are_said() -> None:
    new = look(("memories", 120), ("tenants", 3), version="14.11", newest_migration=Migration("30"), read_only=True)
    assert shorts(new, to=Endpoint("postgres", "h", 1)) == [
        "it takes no writes",
        "it is older: 14.11, not 16.3",
        "another schema: 30, not 35",
        "TLS is off",
    ]


def test_another_product_s_version_is_not_compared() -> None:
    dragonfly = ProbeResult("redis", product="Dragonfly", version="1.37.0", empty=True)
    redis = ProbeResult("redis", product="Redis", version="0.9", empty=True)
    assert shorts(redis, dragonfly, Endpoint("redis", "h", 1, tls=True)) == []


def test_without_a_look_at_the_present_one_that_is_said() -> None:
    assert shorts(OLD, None, why="no answer") == ["not compared: the present one does not answer"]
    assert shorts(look(), None) == ["it is empty: the data was not copied"]
    assert "?" in externalcompare.table(OLD, None)


def test_both_sides_stand_in_one_table() -> None:
    assert externalcompare.table(look(("memories", 20)), OLD).splitlines()[:3] == [
        "          present  outside",
        "memories      120       20",
        "tenants         3        –",
    ]


# -- the upgrade --------------------------------------------------------------------------------------------------


def test_what_does_not_answer_is_not_backed_up_before_it_is_left() -> None:
    library = RunbookLibrary(shipped_registry())
    backup, snapshot = library.parse(library.text("upgrade")).steps[:2]
    facts = {"no_database": False, "no_vector_store": False}
    for away, skipped in (([], [False, False]), (["postgres"], [True, False]), (["qdrant"], [False, True])):
        scope = {"inputs": {}, "plan": {**facts, "away": away}, "outcomes": {}}
        assert [step.skipped(scope) for step in (backup, snapshot)] == skipped


def test_a_kept_database_is_kept_by_a_step_and_none_is_where_there_is_none() -> None:
    library = RunbookLibrary(shipped_registry())
    keep = next(step for step in library.parse(library.text("emergency-externalize")).steps if step.id == "keep")
    assert [keep.skipped({"inputs": {}, "plan": {"external_keeps": name}, "outcomes": {}}) for name in ("", "db")] == [
        True,
        False,
    ]
