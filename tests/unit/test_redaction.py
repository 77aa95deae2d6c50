"""What redaction hides, and what it must leave readable."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.redaction import MASK, redact, redact_values, secret_name

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
