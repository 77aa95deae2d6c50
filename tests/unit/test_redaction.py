"""What redaction hides, and what it must leave readable."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.redaction import MASK, MOST_KNOWN, Redactor, redact, redact_values, secret_name

# Put together here, so that no scanner takes this file for a leak.
SECRETS = [
    "xoxb-" + "123456789012-abcdefABCDEF",
    "xapp-" + "1-A012-345-abcdef0123",
    "AKIA" + "IOSFODNN7EXAMPLE",
    "AIza" + "B" * 35,
    "ghp_" + "a1B2" * 9,
    "github_pat_" + "a1B2" * 10,
    "glpat-" + "a1B2c3D4" * 3,
    "hvs." + "a1B2c3D4" * 4,
    "sk-" + "a1B2c3D4" * 4,
    "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxIn0" + ".c2lnbmF0dXJl",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_known_token_shape_is_hidden_wherever_it_stands(secret: str) -> None:
    assert secret not in redact(f"before {secret}, after")
    assert secret not in str(redact_values({"list": [{"note": f"uses {secret}"}]}))


def test_a_private_key_is_hidden_even_if_its_end_was_cut_off() -> None:
    kind = "RSA " + "PRIVATE KEY"
    assert redact(f"a -----BEGIN {kind}-----\nMIIEow\nABCD") == f"a {MASK}"
    assert redact(f"-----BEGIN {kind}-----\nMIIEow\n-----END {kind}-----\nb") == f"{MASK}\nb"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("postgres://app:hunter22@db:5432/app", "hunter22"),
        ("redis://:hunter22@cache:6379", "hunter22"),
        ("password: hunter22", "hunter22"),
        ('"adminPassword": "hunter 22"', "hunter 22"),
        ("DB_PASS=hunter22 started", "hunter22"),
        ("--set auth.token=hunter22", "hunter22"),
        ("Authorization: Bearer hunter22hunter22", "hunter22hunter22"),
        ("client_secret = 'hunter22'", "hunter22"),
    ],
)
def test_an_assigned_secret_is_hidden(text: str, hidden: str) -> None:
    assert hidden not in redact(text)
    assert MASK in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "2 tests passed: aeterna-test-connection (0 s), aeterna-test-redis (0 s).",
        "postgresql.external.existingSecret: pg-app",
        "secretKey: redis-password",
        "automountServiceAccountToken: false",
        "password: null",
        "https://charts.example/aeterna:8080/index.yaml",
        "compass: north",
    ],
)
def test_what_only_looks_like_a_secret_stays_readable(text: str) -> None:
    assert redact(text) == text


def test_a_secret_object_loses_its_data_and_keeps_its_keys() -> None:
    secret = {"kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "aGk="}, "stringData": {"b": "hi"}}
    assert redact_values(secret) == {
        "kind": "Secret",
        "metadata": {"name": "s"},
        "data": {"a": MASK},
        "stringData": {"b": MASK},
    }


def test_values_are_hidden_by_the_names_of_their_keys_at_any_depth() -> None:
    values = {"redis": {"auth": [{"password": "hunter22", "user": "app"}]}, "apiKey": 12345, "tokenTtl": 60}
    assert redact_values(values) == {
        "redis": {"auth": [{"password": MASK, "user": "app"}]},
        "apiKey": MASK,
        "tokenTtl": 60,
    }


def test_an_environment_variable_is_hidden_by_its_name_in_values_and_in_text() -> None:
    env = [{"name": "DB_PASSWORD", "value": "hunter22"}, {"name": "LOG_LEVEL", "value": "info"}]
    assert redact_values({"env": env})["env"] == [{"name": "DB_PASSWORD", "value": MASK}, env[1]]
    text = "env:\n+  - name: DB_PASSWORD\n+    value: hunter22\n-  - name: LOG_LEVEL\n-    value: info\n"
    assert redact(text) == text.replace("hunter22", MASK)
    assert "hunter22" not in redact(json.dumps(env, indent=2))


def test_switches_under_a_secrets_name_stay_readable() -> None:
    assert redact_values({"secret": True, "password": None, "token": ""}) == {
        "secret": True,
        "password": None,
        "token": "",
    }


@pytest.mark.parametrize("name", ["password", "adminPassword", "DB_PASS", "api-key", "clientSecret", "accessKey"])
def test_names_of_secrets_are_known(name: str) -> None:
    assert secret_name(name)


@given(st.text(max_size=300))
def test_redacting_twice_is_redacting_once(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@given(
    st.sampled_from(SECRETS), st.text(alphabet=" \n,;()[]<>", max_size=5), st.text(alphabet=" \n,;()[]<>", max_size=5)
)
def test_punctuation_around_a_token_does_not_save_it(secret: str, before: str, after: str) -> None:
    assert secret not in redact(before + secret + after)


ASSIGNMENTS = [
    (
        "config: |\n  db:\n    password: |\n      hunter22\n      second33\n    port: 5432\n",
        ("hunter22", "second33"),
        "port: 5432",
    ),
    ("+  password: >-\n+    hunter22\n+  port: 5432", ("hunter22",), "+  port: 5432"),
    ('{"args": "{\\"password\\": \\"hunter22\\", \\"port\\": 5432}"}', ("hunter22",), "5432"),
    ('[{"name":"DB_PASSWORD","value":"hunter22"},{"name":"LOG","value":"info"}]', ("hunter22",), "info"),
    ("password: correct horse battery staple\nport: 5432", ("correct", "staple"), "port: 5432"),
    ("tool --db-password hunter22 --port 5432", ("hunter22",), "--port 5432"),
    ('invalid password "hunter22": too short', ("hunter22",), "too short"),
    ("<password>hunter22</password><port>5432</port>", ("hunter22",), "<port>5432</port>"),
    ("postgres://app:hun/ter22@db:5432/app", ("hun/ter22",), "db:5432/app"),
    ("https://0123456789abcdef0123456789abcdef@sentry.example/4", ("0123456789abcdef",), "sentry.example/4"),
    (
        "DefaultEndpointsProtocol=https;AccountName=aeterna;AccountKey=aHVudGVyMjI=;",
        ("aHVudGVyMjI",),
        "AccountName=aeterna",
    ),
    ("https://aeterna.blob.example/b?sv=2024&sig=hunter22%3D&se=2027", ("hunter22",), "se=2027"),
    ('{"auths":{"ghcr.io":{"auth":"YXBwOmh1bnRlcjIy"}}}', ("YXBwOmh1bnRlcjIy",), "ghcr.io"),
    ("admin:$2y$05$abcdefghijklmnopqrstuv", ("abcdefghijklmnopqrstuv",), "admin:"),
]


@pytest.mark.parametrize(("text", "hidden", "kept"), ASSIGNMENTS)
def test_a_secret_is_hidden_and_what_stands_beside_it_is_not(text: str, hidden: tuple[str, ...], kept: str) -> None:
    shown = redact(text)
    assert not [part for part in hidden if part in shown]
    assert kept in shown
    assert redact(shown) == shown


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _folded(text: str, width: int = 64) -> str:
    return "\n".join(text[at : at + width] for at in range(0, len(text), width))


@pytest.mark.parametrize(
    "packed",
    [
        _base64("password: hunter22\n"),
        _base64("password: hunter22\n").rstrip("="),
        base64.urlsafe_b64encode(b"password: hunter22\n???>>>").decode(),
        _base64(_base64('{"password": "hunter22"}')),
        _folded(_base64("nothing of interest\n" * 4 + "password: hunter22\n")),
    ],
)
def test_base64_of_a_secret_is_hidden_and_base64_of_anything_else_is_not(packed: str) -> None:
    assert redact(f"config.b64: {packed}\nlog: info") == f"config.b64: {MASK}\nlog: info"
    plain = _folded(_base64("nothing of interest\n" * 8))
    assert redact(f"config.b64: {plain}") == f"config.b64: {plain}"


@pytest.mark.parametrize(
    "text",
    [
        "Secret pg-app-1 is not there; the Secret sh.helm.release.v1.aeterna.v12 is.",
        "couldn't find key postgres-password in Secret prod/pg-app1",
        "aeterna.token: Invalid type. Expected: string, given: integer.",
        "A token expires; basic functionality stays.",
        "ghcr.io/kikokikok/aeterna@sha256:" + "0123456789abcdef" * 4,
        "passwordFile: /run/secrets/pg",
        "https://charts.example:8080/a@b",
    ],
)
def test_names_of_secrets_and_plain_sentences_stay_readable(text: str) -> None:
    if text.startswith("aeterna.token"):  # the first word after a secret's name is hidden; the reason stays
        assert "Expected: string, given: integer." in redact(text)
    else:
        assert redact(text) == text


def test_redaction_takes_time_in_proportion_to_the_text() -> None:
    """Ten times the text takes far less than a hundred times as long, for texts that used to be searched again at each letter."""
    for piece in ("A", "ab" * 32 + " ", "secretpassword", " ", "-- ", "\n- ", "name: a\n", "a:", "=", "eyJ", "/", "x@"):
        took = []
        for size in (3_000, 30_000):
            text = piece * (size // len(piece))
            begun = time.process_time()
            redact(text)
            took.append(time.process_time() - begun)
        assert took[1] < 60 * took[0] + 0.2, piece


# -- what a running bot knows -------------------------------------------------------------------------------


def test_a_secret_that_was_read_is_hidden_wherever_it_turns_up_in_whatever_form() -> None:
    redactor = Redactor()
    redactor.learn(
        {
            "auth": {"password": 'S3cr3t"&/x y', "user": "app-user-1"},
            "url": "postgres://app:p4ssw0rd@db/app",
            "env": [{"name": "API_TOKEN", "value": "t0k3n-t0k3n"}],
        }
    )
    redactor.learn(
        [{"kind": "Secret", "data": {"pin": _base64("9f8e7d6c")}, "stringData": {"c.json": '{"password": "in51de!!"}'}}]
    )
    with redactor.in_use():
        for text in (
            'the chart says: weak: S3cr3t"&/x y!',
            json.dumps({"said": 'S3cr3t"&/x y'}),
            "GET /?p=S3cr3t%22%26%2Fx%20y",
            f"config {_base64('S3cr3t' + chr(34) + '&/x y')}",
            "refused p4ssw0rd for app",
            "bad t0k3n-t0k3n",
            "unexpected 9f8e7d6c",
            f"unexpected {_base64('9f8e7d6c')}",
            "unexpected in51de!!",
        ):
            assert MASK in redact(text), text
            assert redact_values({"note": [text]})["note"] == [redact(text)]
        assert redact("app-user-1 is welcome") == "app-user-1 is welcome"
    assert "p4ssw0rd" in redact("refused p4ssw0rd for app")


def test_what_is_short_a_plain_word_or_a_name_is_not_learned() -> None:
    redactor = Redactor()
    redactor.learn(
        {"password": "postgres", "token": "abc1", "authSecret": "pg-app-credentials-1", "secretName": "pg-app-12"}
    )
    for text in ("postgres is up", "abc1", "pg-app-credentials-1", "pg-app-12"):
        assert redactor.text(text) == text


def test_a_longer_secret_is_not_left_in_part_by_a_shorter_one() -> None:
    redactor = Redactor()
    redactor.learn({"password": "abcd1234"})
    redactor.learn({"token": "abcd1234-and-more-5678"})
    assert redactor.text("got abcd1234-and-more-5678") == f"got {MASK}"


def test_only_the_latest_secrets_are_remembered() -> None:
    redactor = Redactor()
    redactor.learn({"token": "f1rst-s3cret"})
    redactor.learn({"passwords": [f"s3cret-number-{number}" for number in range(MOST_KNOWN)]})
    assert redactor.text("s3cret-number-3999") == MASK
    assert redactor.text("f1rst-s3cret") == "f1rst-s3cret"


def test_patterns_of_the_configuration_hide_what_they_match() -> None:
    with Redactor(["CUST-[0-9]{6}", "(?<=account )[0-9]+"]).in_use():
        assert redact("CUST-123456 has account 42") == f"{MASK} has account {MASK}"
        assert redact_values({"a": ["CUST-123456"]}) == {"a": [MASK]}


async def test_tasks_and_threads_redact_with_what_is_in_use_where_they_began() -> None:
    redactor = Redactor(["CUST-[0-9]{6}"])
    with redactor.in_use():
        task = asyncio.create_task(asyncio.to_thread(redact, "CUST-123456"))
    assert await task == MASK
    assert redact("CUST-123456") == "CUST-123456"


def test_log_lines_and_their_tracebacks_are_redacted() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with Redactor(["CUST-[0-9]{6}"]).in_use():
            try:
                raise ValueError("refused password=hunter22 of CUST-123456")
            except ValueError:
                logging.getLogger("bot.test").exception("it failed: token=%s", "hunter33")
    finally:
        root.removeHandler(handler)
    assert "ValueError" in written.getvalue()
    assert not [secret for secret in ("hunter22", "hunter33", "123456") if secret in written.getvalue()]
