"""Sixty and more different secrets, made anew for each test and sorted by the place where they are planted.

Each comes as a line as it stands in its place, and as what must be found nowhere. Nothing in this file looks like a secret:
prefixes stand apart from random letters. In each place stands a line without a secret too, which has to be found.
"""

from __future__ import annotations

import base64
import json
import random
import string
import urllib.parse
from dataclasses import dataclass, field
from typing import Any

LETTERS = string.ascii_letters + string.digits
LOWER = string.ascii_lowercase + string.digits
UPPER = string.ascii_uppercase + string.digits
HEX = "0123456789abcdef"
PATTERN = "CUST-[0-9]{8}"


@dataclass(frozen=True)
class Planted:
    """``line`` is what stands in the place; none of ``secrets`` may be found."""

    name: str
    line: str
    secrets: tuple[str, ...]


@dataclass
class Corpus:
    """All that was planted. ``text(place)`` is what to write there."""

    seed: int = field(default_factory=lambda: random.SystemRandom().randrange(2**32))
    planted: dict[str, list[Planted]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def some(self, count: int, alphabet: str = LETTERS) -> str:
        """Random letters; a digit and a letter are always among them."""
        return "".join([self._random.choice(alphabet) for _ in range(count - 2)]) + "a7"

    def plant(self, place: str, name: str, line: str, *secrets: str) -> str:
        self.planted.setdefault(place, []).append(Planted(name, line, secrets))
        return line

    def text(self, place: str) -> str:
        """The lines of a place, its control line first and last."""
        return "\n".join([control(place), *(one.line for one in self.planted[place]), f"{control(place)}-end"])

    def all(self) -> list[tuple[str, str, str]]:
        """Place, name and each form that must not be found."""
        return [
            (place, one.name, form)
            for place, planted in self.planted.items()
            for one in planted
            for secret in one.secrets
            for form in forms(secret)
        ]

    def count(self) -> int:
        """How many different secrets there are."""
        return len({secret for planted in self.planted.values() for one in planted for secret in one.secrets})

    def found_in(self, text: str) -> list[str]:
        """Which of them stand in a text, by place and name."""
        return sorted({f"{place}: {name}" for place, name, form in self.all() if form in text})


def control(place: str) -> str:
    """What stands beside the secrets of a place and is none."""
    return f"plain-{place}-words"


def forms(secret: str) -> set[str]:
    """The secret, and how it may be written elsewhere."""
    packed = base64.b64encode(secret.encode()).decode()
    return {
        secret,
        packed,
        packed.rstrip("=")[:-1],
        urllib.parse.quote(secret, safe=""),
        json.dumps(secret)[1:-1],
        secret[: len(secret) // 2 + 4],  # half a secret is too much as well
    }


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def tokens(corpus: Corpus) -> dict[str, tuple[str, str]]:
    """Well-known shapes: a line that somebody might log, and the secret in it."""
    some = corpus.some

    def said(prefix: str, rest: str) -> tuple[str, str]:
        return f"using {prefix}{rest}", prefix + rest

    jwt = ".".join([b64('{"alg":"HS256","typ":"JWT"}').rstrip("="), b64('{"sub":"aeterna"}').rstrip("="), some(43)])
    return {
        "AWS access key id": said("AKIA", some(16, UPPER).upper()),
        "AWS temporary key id": said("ASIA", some(16, UPPER).upper()),
        "Google API key": said("AI" + "za", some(35)),
        "Google OAuth secret": said("GOC" + "SPX-", some(28)),
        "Google access token": said("ya" + "29.", some(60)),
        "Entra ID client secret": said(some(3) + "8Q" + "~", some(34)),
        "GitHub token": said("gh" + "p_", some(36)),
        "GitHub fine-grained token": said("github" + "_pat_", some(60)),
        "GitLab token": said("gl" + "pat-", some(20)),
        "Slack bot token": said("xo" + "xb-", f"{some(12, '0123456789')[:10]}-{some(24)}"),
        "Slack webhook": said("https://hooks." + "slack.com/services/T0/", f"{some(10)}/{some(24)}"),
        "npm token": said("np" + "m_", some(36)),
        "PyPI token": said("py" + "pi-AgE", some(60)),
        "OpenAI key": said("sk" + "-proj-", some(48)),
        "Anthropic key": said("sk" + "-ant-api03-", some(48)),
        "Hugging Face token": said("h" + "f_", some(34)),
        "Stripe key": said("sk" + "_live_", some(24)),
        "SendGrid key": said("S" + "G.", f"{some(22)}.{some(43)}"),
        "Vault token": said("hv" + "s.", some(24)),
        "Docker token": said("dckr" + "_pat_", some(27)),
        "Grafana token": said("gl" + "sa_", some(40)),
        "DigitalOcean token": said("dop" + "_v1_", some(64, HEX)),
        "bootstrap token": said(some(6, LOWER) + ".", some(16, LOWER)),
        "JWT": said("", jwt),
    }


def assigned(corpus: Corpus) -> dict[str, tuple[str, str]]:
    """Secrets of no shape, known by what stands before them."""

    def said(words: str, alphabet: str = LETTERS, count: int = 20) -> tuple[str, str]:
        secret = corpus.some(count, alphabet)
        return words.format(secret), secret

    return {
        "AWS secret key": said("aws_secret_access_key = {}", LETTERS + "/+", 40),
        "DSN": said("connecting to postgres://aeterna:{}@db.example:5432/aeterna"),
        "Redis URL": said("cache is redis://:{}@cache:6379/0"),
        "AMQP URL": said("amqps://aeterna:{}@mq.example/vhost"),
        "libpq": said("host=db user=aeterna password={} sslmode=require"),
        "JDBC": said("jdbc:postgresql://db/aeterna?user=aeterna&password={}&ssl=true"),
        "bearer": said("Authorization: Bearer {}"),
        "API key header": said("X-Api-Key: {}"),
        "environment": said("PGPASSWORD={} psql -c 'select 1'"),
        "flag": said("running migrate --db-password {} --steps 3"),
        "JSON": said('{{"user": "aeterna", "client_secret": "{}", "retries": 3}}'),
        "JSON in JSON": said('{{"args": "{{\\"apiKey\\": \\"{}\\"}}"}}'),
        "quoted": said('the server refused password "{}" of aeterna'),
        "SAS": said("https://aeterna.blob.example/backup?sv=2024-01-01&sig={}&se=2027-01-01"),
        "storage account": said("AccountName=aeterna;AccountKey={};EndpointSuffix=example", LETTERS, 44),
        "Sentry": said("dsn https://{}@sentry.example/42", HEX, 32),
        "htpasswd": said("aeterna:$apr1${}"),
        "cookie": said("Set-Cookie: session={}; HttpOnly"),
        "XML": said("<property><dbPassword>{}</dbPassword></property>"),
    }


def basic(corpus: Corpus) -> tuple[str, str]:
    """A header with user and password."""
    secret = b64(f"aeterna:{corpus.some(16)}")
    return f"Authorization: Basic {secret}", secret


def private_key(corpus: Corpus, kind: str = "RSA ") -> tuple[str, str]:
    """A PEM and a line of it."""
    body = [corpus.some(64, LETTERS + "+/") for _ in range(3)]
    mark = kind + "PRIVATE" + " KEY"
    return "\n".join([f"-----BEGIN {mark}-----", *body, f"-----END {mark}-----"]), body[1]


def values(corpus: Corpus, place: str) -> dict[str, Any]:
    """Values of a release, with secrets under telling names, in addresses, in texts."""
    some = corpus.some

    def planted(name: str, secret: str, line: str = "{}") -> str:
        return corpus.plant(place, name, line.format(secret), secret)

    pem, line = private_key(corpus, "")
    corpus.plant(place, "PEM", pem, line)
    return {
        "control": control(place),
        "db": {"password": planted("password", some(20, LETTERS + "!#/&")), "user": f"{control(place)}-user"},
        "auth": {
            "adminPassword": planted("admin password", some(18)),
            "tokens": [planted("token in a list", some(22))],
        },
        "smtp": {"pass": planted("pass", some(14))},
        "llm": {"apiKey": planted("API key", some(32))},
        "clientSecret": planted("client secret", some(28)),
        "encryptionKey": planted("encryption key", some(32, HEX)),
        "url": planted("address", some(16), "postgres://aeterna:{}@db.example/aeterna"),
        "env": [
            {"name": "AETERNA_TOKEN", "value": planted("environment", some(24))},
            {"name": "AETERNA_MODE", "value": control(place)},
        ],
        "config": planted("text in values", some(18), "mode: fast\nredis:\n  password: {}\n  port: 6379\n"),
        "packed": b64(planted("base64 in values", some(18), '{{"password": "{}"}}')),
        "tls": {"key": pem},
        "passphrase": planted("words", f"{some(8)} {some(8)} {some(9)}"),
        "customer": planted("configured pattern", "CUST-" + f"{corpus._random.randrange(10**7, 10**8)}"),
    }


def objects(corpus: Corpus, place: str) -> list[dict[str, Any]]:
    """Objects of a chart with secrets in them."""
    some = corpus.some

    def planted(name: str, secret: str, line: str = "{}") -> str:
        return corpus.plant(place, name, line.format(secret), secret)

    pem, line = private_key(corpus, "EC ")
    corpus.plant(place, "PEM in a ConfigMap", pem, line)
    inner, inner_line = private_key(corpus, "")
    corpus.plant(place, "kubeconfig", inner, inner_line)
    docker = b64(f"aeterna:{planted('docker', some(18))}")
    corpus.plant(place, "docker auth", docker, docker)

    def named(kind: str, name: str, **more: Any) -> dict[str, Any]:
        metadata = {"name": name, **more.pop("metadata", {})}
        return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **more}

    return [
        named(
            "Secret",
            "planted",
            data={"pin": b64(planted("data", some(12)))},
            stringData={
                "token": planted("stringData", some(24)),
                "config.json": json.dumps({"db": {"password": planted("JSON in a Secret", some(16))}}),
            },
        ),
        named(
            "ConfigMap",
            "planted",
            metadata={
                "annotations": {
                    "planted/control": control(place),
                    "planted/dsn": planted("annotation", some(16), "redis://:{}@cache:6379"),
                    "planted/token": planted("annotation by name", some(20)),
                    "planted/hook": planted(
                        "annotation by shape", "gh" + "s_" + some(36), "curl -H 'Authorization: token {}'"
                    ),
                }
            },
            data={
                "control": control(place),
                "app.yaml": planted("YAML", some(16), "db:\n  host: db\n  password: {}\n"),
                "block.yaml": planted("block in YAML", some(16), "db:\n  secret: |\n    {}\n  port: 5432\n"),
                "app.ini": planted("INI", some(16), "[db]\npassword = {}\nport = 5432\n"),
                "app.json": planted("JSON", some(16), '{{"db": {{"password": "{}"}}}}'),
                "tool.b64": b64(
                    planted("base64 in a ConfigMap", some(16), "user: aeterna\npassword: {}\nretries: 3\n")
                ),
                "twice.b64": b64(b64(planted("base64 twice", some(16), "password={}"))),
                "netrc": planted("netrc", some(16), "machine db login aeterna password {}"),
                "htpasswd": planted("bcrypt", some(40), "aeterna:$2y$10${}"),
                "tls.key": pem,
                "kubeconfig": f"users:\n- name: aeterna\n  user:\n    client-key-data: {b64(inner)}\n",
                "config.json": json.dumps({"auths": {"ghcr.io": {"auth": docker}}}),
            },
        ),
    ]
