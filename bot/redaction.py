"""Redaction: the one place through which everything goes before it is stored or shown.

``redact`` is for text that others wrote (logs, errors, diffs), by the shapes of known secrets and by what stands before them;
``redact_values`` for structured values, by the names of their keys as well. A ``Redactor`` that is ``in_use`` adds to both what
only a running bot knows: the configuration's patterns, and the secrets that it was shown. What is hidden becomes ``MASK``.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import logging
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from functools import cache
from typing import Any

from bot.tokenshapes import PASSWORD_HASH, PRIVATE_KEY, SIGNED, TOKEN

MASK = "[redacted]"
_NAMES = (
    r"passw(?:or)?d|passphrase|pwd|(?-i:(?<![a-z])pass|Pass|PASS)(?![A-Za-z])|secret|token|credential|cookie|htpasswd|"
    r"(?:api|private|access|auth|account|shared|encryption|signing|master|client|license|ssh|hmac|storage)[-_]?key"
)
_WORDS = ("pass", "pwd", "secret", "token", "credential", "cookie", "key")
"""One of them is in each of the names."""
_SECRET_NAME = re.compile(_NAMES, re.IGNORECASE)
# Names that only point to a secret, or say that one is used.
_POINTER = re.compile(
    r"(existingsecret|secretname|secretref|secretkeyref|secretkey|passwordkey|tokenkey|apikeykey|usernamekey|imagepullsecrets?|"
    r"automountserviceaccounttoken|secrets?enabled|tokenttl|tokenexpir\w*|maxtokens?|cookiename|file|path)$",
    re.IGNORECASE,
)
_PLAIN = ("", "null", "true", "false", "none", "|", "|-", "|+", ">", ">-", ">+", MASK)
_SCHEME = r"(?P<scheme>\b[a-z][a-z0-9+.-]{0,30}://"
# A port is no password, though an @ may follow in the path.
_URL_PASSWORD = re.compile(
    _SCHEME + r"[^\s/:@\"'<>]{0,200}:)(?P<password>(?!\d{1,5}(?:[/?#]|$))[^\s@\"'<>]{1,300})@", re.IGNORECASE
)
_URL_USER = re.compile(_SCHEME + r")[^\s/:@\"'<>.]{20,}@", re.IGNORECASE)
_BEARER = re.compile(
    r"(?P<kind>\b(?:Bearer|Basic|bearer|basic)\s+(?=\S*[0-9A-Z=])|(?i:authorization)\W{1,4}\w+\s+)[A-Za-z0-9._~+/=-]{8,}"
)
# The two lines (or one) of a container's environment variable, in YAML (with a diff's marks) or JSON.
_ENVIRONMENT = re.compile(
    r"(?P<name>\bname\\*[\"']?:[ \t]*\\*[\"']?(?P<called>[\w.-]{1,253})\\*[\"']?,?(?:[ \t]*\n[-+ \t]*|[ \t]*)"
    r"\\*[\"']?value\\*[\"']?:[ \t]*)(?P<value>\"(?:[^\"\\\n]|\\.)*\"|\\+\"[^\"\n]*\"|[^\n]+)"
)
# From a name on: what stands before it is looked at afterwards, so that long words cost no more than short ones.
_ASSIGNED = re.compile(
    rf"(?P<name>(?:{_NAMES})[\w.-]{{0,80}})(?P<sep>\\*[\"']?\s*(?:=>|[:=])[ \t]*)"
    rf"(?P<value>\\+\"[^\"\n]*\"|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|[^\s,;\"'{{}}\[\]]+)",
    re.IGNORECASE,
)
_BEFORE = re.compile(r"[\w.-]{0,80}$")
# A whole line of YAML or properties, where words follow one another.
_LINE = re.compile(
    rf"^(?P<lead>[-+ \t]*(?P<name>[\w.-]{{0,80}}?(?:{_NAMES})[\w.-]{{0,80}})[ \t]*[:=][ \t]+)"
    rf"(?P<value>[^\s\"'{{}}\[\],;|>][^\n]*[ \t][^\n]*)$",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE = re.compile(r"[.:] |\.$")
# ``--password hunter22``, ``invalid token "abc1234…"``: only letters together with digits, to spare plain English.
_SAID = re.compile(
    rf"(?P<said>(?:\b(?:passw(?:or)?d|passphrase|pwd|(?:api|access)[-_ ]?key|token)|\s--?[\w-]{{0,40}}(?:{_NAMES})[\w-]{{0,40}})"
    rf"[\"']?\s+(?:(?:is|was|value)\s+)?\\*[\"'`]?)(?=[^\s\"'`]*\d)(?=[^\s\"'`]*[A-Za-z])(?P<value>[^\s\"'`:;,\\]{{8,}})",
    re.IGNORECASE,
)
_ELEMENT = re.compile(rf"(?P<open><(?P<tag>[\w.-]{{0,80}}(?:{_NAMES})[\w.-]{{0,80}})>)[^<]+(?=</)", re.IGNORECASE)
_BLOCK = re.compile(
    rf"^(?P<mark>[-+ ]?)(?P<indent>[ \t]*)(?P<item>(?:- )*)[\"']?(?P<name>[\w./-]{{0,80}}(?:{_NAMES})[\w.-]{{0,80}})[\"']?:"
    r"[ \t]*[|>][-+0-9]*[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_DOCKER_AUTH = re.compile(r"(?P<name>\\*\"auth\\*\"\s*:\s*\\*\")(?P<value>[A-Za-z0-9+/]{8,}={0,2})")
_BASE64 = re.compile(
    r"(?<![A-Za-z0-9+/_-])(?:(?:[A-Za-z0-9+/]{60,80}\r?\n[-+ \t]*)+[A-Za-z0-9+/]+={0,2}|[A-Za-z0-9+/_-]{20,}={0,2})"
)
_FOLDS = re.compile(r"\r?\n[-+ \t]*")
_REFERENCE = re.compile(r"[a-z0-9]([-a-z0-9.]{0,60}[a-z0-9])?")
_MAY_REFER = re.compile(r"(secrets?|credentials?)$", re.IGNORECASE)
_DEEPEST = 3
_NEXT_OBJECT = "\n\n# "
_PIECE = 20_000
_LONGEST = 2_000_000
MOST_KNOWN = 4000


def redact(text: str) -> str:
    """``text`` without the secrets that can be recognised in it: by shape, in URLs, after ``password:``; base64 too."""
    present = _present.get()
    return present.text(text) if present else _in_pieces(text)


def redact_values(value: Any, *, name: str = "") -> Any:
    """A copy of ``value`` in which every scalar under a secret's name, and every recognisable secret, is hidden.

    A Kubernetes Secret loses all of its ``data`` and ``stringData``. Each text is looked through once: the rows of a plan
    for hundreds of workloads have the same keys, and most of them the same words.
    """
    return _values(value, name, cache(redact), cache(secret_name))


def learn(value: Any) -> None:
    """Shows values or objects to the ``Redactor`` in use, where there is one: what is secret in them is hidden from now on."""
    if (present := _present.get()) is not None:
        present.learn(value)


def mentions_secrets(text: str) -> bool:
    """Whether a secret's name, or a Secret, stands in a text: without, nothing in it can be known by its name."""
    return _SECRET_NAME.search(text) is not None


def secret_name(name: str) -> bool:
    """Whether a key of this name holds a secret, rather than pointing to one."""
    bare = re.sub(r"[^A-Za-z0-9]", "", name)
    return bool(_SECRET_NAME.search(name)) and not _POINTER.search(bare)


class Redactor:
    """Redaction with what this process knows: ``patterns`` of the configuration, and the secrets that were shown to ``learn``.

    A known secret is hidden wherever it stands, also where nothing tells that it is one: in a chart's ``fail``, in a hook's log.
    What is short or a plain word is not learned, for it stands everywhere. Kept in memory only, the latest ``MOST_KNOWN``.

    It is found through the context, not handed from hand to hand: a place where that was forgotten would hide less in silence.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._patterns = [re.compile(pattern) for pattern in patterns]
        self._known: dict[str, None] = {}
        self._longest_first: tuple[str, ...] = ()
        self._lock = threading.Lock()  # releases are read in threads

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """``redact``, ``redact_values``, ``learn`` use it here and in every task and thread that begins here; so do the logs."""
        handlers = [(handler, handler.formatter) for handler in logging.getLogger().handlers]
        token = _present.set(self)
        for handler, formatter in handlers:
            handler.setFormatter(_RedactedLines(self, formatter or logging.Formatter()))
        try:
            yield
        finally:
            for handler, formatter in handlers:
                handler.setFormatter(formatter)
            _present.reset(token)

    def text(self, text: str) -> str:
        """``text`` without any of it."""
        for secret in self._longest_first:
            if secret in text:
                text = text.replace(secret, MASK)
        for pattern in self._patterns:
            text = pattern.sub(MASK, text)
        return _in_pieces(text)

    def learn(self, value: Any) -> None:
        """Remembers every secret in values or objects: by the names of their keys, the data of Secrets, passwords in URLs."""
        found = [form for secret in dict.fromkeys(_secrets_in(value, "")) for form in _forms(secret)]
        with self._lock:
            for form in found:
                self._known.pop(form, None)
                self._known[form] = None
            while len(self._known) > MOST_KNOWN:
                del self._known[next(iter(self._known))]
            self._longest_first = tuple(sorted(self._known, key=len, reverse=True))


class _RedactedLines(logging.Formatter):
    """A record as another formatter writes it, with its traceback, redacted."""

    def __init__(self, redactor: Redactor, formatter: logging.Formatter) -> None:
        super().__init__()
        self._redactor = redactor
        self._formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor.text(self._formatter.format(record))


_present: ContextVar[Redactor | None] = ContextVar("redactor", default=None)


# -- text ---------------------------------------------------------------------------------------------------


def _in_pieces(text: str) -> str:
    """``text`` redacted; a long difference of manifests object by object, for no pattern reaches from one into the next.

    A search keeps every other thread waiting to its end, the event loop's too.
    """
    pieces, start = [], 0
    while (end := text.find(_NEXT_OBJECT, start + _PIECE)) >= 0:
        while end >= 0 and text.rfind("-----BEGIN", start, end) > text.rfind("-----END", start, end):
            end = text.find(_NEXT_OBJECT, end + 1)  # not in the middle of a key
        if end < 0:
            break
        pieces.append(_redact(text[start:end], _DEEPEST))
        start = end
    return "".join([*pieces, _redact(text[start:], _DEEPEST)])


def _redact(text: str, depth: int) -> str:
    text = PRIVATE_KEY.sub(MASK, text)
    text = TOKEN.sub(MASK, text)
    text = PASSWORD_HASH.sub(MASK, text)
    text = SIGNED.sub(rf"\g<name>{MASK}", text)
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\g<scheme>{MASK}@", text)
        text = _URL_USER.sub(rf"\g<scheme>{MASK}@", text)
    text = _BEARER.sub(rf"\g<kind>{MASK}", text)
    low = text.lower()
    if any(word in low for word in _WORDS):  # most texts have none, and what follows is slow to find none
        text = _ENVIRONMENT.sub(_variable, text)
        text = _blocks(text) if "|" in text or ">" in text else text
        text = _LINE.sub(_line, text)
        text = _ASSIGNED.sub(_assigned, text)
        text = _SAID.sub(rf"\g<said>{MASK}", text)
        text = _ELEMENT.sub(_element, text) if "</" in text else text
    text = _DOCKER_AUTH.sub(rf"\g<name>{MASK}", text)
    return _BASE64.sub(lambda match: _packed(match[0], depth - 1), text) if depth > 0 else text


def _variable(match: re.Match[str]) -> str:
    if not secret_name(match["called"]) or MASK in match["value"]:
        return match[0]
    quote = '"' if match["value"].startswith('"') and match["value"].endswith('"') else ""
    return f"{match['name']}{quote}{MASK}{quote}"


def _assigned(match: re.Match[str]) -> str:
    text, start = match.string, match.start()
    before = text[max(0, start - 80) : start]
    value = match["value"].strip("\\\"'")
    if value.lower() in _PLAIN or not secret_name((_BEFORE.search(before) or [""])[0] + match["name"]):
        return match[0]
    return f"{match['name']}{match['sep']}{MASK}"


def _line(match: re.Match[str]) -> str:
    if not secret_name(match["name"]) or _SENTENCE.search(match["value"]) or match["value"].startswith(MASK):
        return match[0]
    return f"{match['lead']}{MASK}"


def _element(match: re.Match[str]) -> str:
    return f"{match['open']}{MASK}" if secret_name(match["tag"]) else match[0]


def _blocks(text: str) -> str:
    """Without the lines of YAML's block scalars under secrets' names."""
    found = _BLOCK.search(text)
    if found is None:
        return text
    pieces, at = [], 0
    while found is not None:
        if not secret_name(found["name"]):
            found = _BLOCK.search(text, found.end())
            continue
        end, margin = found.end(), len(found["mark"] + found["indent"] + found["item"])
        while end < len(text):
            line_end = text.find("\n", end + 1)
            line = text[end + 1 : line_end if line_end >= 0 else len(text)]
            if line.strip("+- \t") and len(line) - len(line.lstrip("+- \t")) <= margin:
                break
            end = line_end if line_end >= 0 else len(text)
        pieces += [text[at : found.end()], f"\n{found['mark']}{' ' * (margin + 1)}{MASK}"] if end > found.end() else []
        at = end if end > found.end() else at
        found = _BLOCK.search(text, end)
    return "".join([*pieces, text[at:]])


def _packed(text: str, depth: int) -> str:
    """Base64 of something that has a secret in it is hidden as a whole."""
    inside = _unpacked(text)
    return MASK if inside is not None and _redact(inside, depth) != inside else text


def _unpacked(text: str) -> str | None:
    """What base64 (either alphabet, padded or not) stands for, where that is text."""
    plain = _FOLDS.sub("", text).rstrip("=").replace("-", "+").replace("_", "/")
    if len(plain) > _LONGEST or len(plain) % 4 == 1:
        return None
    try:
        inside = base64.b64decode(plain + "=" * (-len(plain) % 4)).decode()
    except (binascii.Error, ValueError):
        return None
    return inside if inside.isprintable() or all(char.isprintable() or char in "\r\n\t" for char in inside) else None


# -- values -------------------------------------------------------------------------------------------------


def _values(value: Any, name: str, text: Callable[[str], str], secret: Callable[[str], bool]) -> Any:
    if isinstance(value, Mapping):
        hide = value.get("kind") == "Secret"
        if "value" in value and secret(str(value.get("name", ""))):  # an environment variable
            value = {**value, "value": MASK}
        return {
            text(key) if isinstance(key, str) else key: dict.fromkeys(item, MASK)
            if hide and key in ("data", "stringData") and isinstance(item, Mapping)
            else _values(item, str(key), text, secret)
            for key, item in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_values(item, name, text, secret) for item in value]
    if value not in (None, "", True, False) and secret(name):
        return MASK
    return text(value) if isinstance(value, str) else value


# -- what is known ------------------------------------------------------------------------------------------


def _secrets_in(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        if value.get("kind") == "Secret":
            yield from _of_a_secret(value)
            return
        named = str(value.get("name", "")) if "value" in value else ""
        for key, item in value.items():
            yield from _secrets_in(item, named if key == "value" and secret_name(named) else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            yield from _secrets_in(item, name)
    elif isinstance(value, str):
        if secret_name(name) and not (_MAY_REFER.search(name) and _REFERENCE.fullmatch(value)):
            yield value
        yield from (urllib.parse.unquote(match["password"]) for match in _URL_PASSWORD.finditer(value))


def _of_a_secret(secret: Mapping[str, Any]) -> Iterator[str]:
    for item in (secret.get("data") or {}).values():
        yield str(item)
        if (inside := _unpacked(str(item))) is not None:
            yield from _whole(inside)
    for item in (secret.get("stringData") or {}).values():
        yield from _whole(str(item))


def _whole(text: str) -> Iterator[str]:
    """A text that is a secret as a whole; of a document (a kubeconfig, a Docker configuration) what is secret in it."""
    yield text
    try:
        document = json.loads(text) if text.lstrip().startswith(("{", "[")) else None
    except ValueError:
        document = None
    if document is not None:
        yield from _secrets_in(document, "")
    if "\n" in text and "-----BEGIN" not in text:
        yield from (line.strip() for line in text.splitlines() if " " not in line.strip())
    yield from (match["value"].strip("\\\"'") for match in _ASSIGNED.finditer(text))
    yield from (urllib.parse.unquote(match["password"]) for match in _URL_PASSWORD.finditer(text))


def _forms(secret: str) -> list[str]:
    """How a secret may stand in a text, shortest first; none for what stands everywhere."""
    plain = secret.strip()
    if not _worth(plain):
        return []
    raw = secret.encode()
    forms = {
        plain,
        base64.b64encode(raw).decode(),
        base64.b64encode(raw).decode().rstrip("="),
        base64.b64encode(plain.encode()).decode().rstrip("="),
        json.dumps(plain)[1:-1],
        json.dumps(plain, ensure_ascii=False)[1:-1],
        plain.replace("'", "''"),
        urllib.parse.quote(plain, safe=""),
    }
    return sorted(forms, key=len)


def _worth(text: str) -> bool:
    if len(text) < 8 or len(text) > 20_000 or text == MASK:
        return False
    if any(char.isdigit() for char in text) and any(char.isalpha() for char in text):
        return True
    return len(text) >= 16 and not _REFERENCE.fullmatch(text)
