"""The runbooks that there are: ours, and those of the users' folder, which add to ours and override them by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rapidfuzz import process

from bot import yamlfile
from bot.engine.contract import Facts, Json, Runbook, as_typed
from bot.errors import UserMistake
from bot.helm.versions import parse_version
from runbooks import expansion, loader
from runbooks.document import InputDocument, RunbookDocument
from runbooks.registry import MIGRATIONS, Registry

SHIPPED = Path(__file__).parent
_EXAMPLES = {
    "chart_version": "0.2.1",
    "version_range": "0.1.0..0.2.1",
    "revision": "12",
    "string": "TEXT",
    "component": "COMPONENT",
}
_FLAG = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_LONGEST_INPUT = 1_000  # characters
_LARGEST_REVISION = 1_000_000


@dataclass(frozen=True)
class _Entry:
    text: str
    written: RunbookDocument
    loaded: Runbook


class RunbookLibrary:
    """``bot.engine.contract.Runbooks`` over folders of YAML files. Everything is read and checked when it is made.

    ``users`` is the folder of the configuration, or None. ``command`` is Slack's, for the right form in answers.
    Raises ``UserMistake`` that lists what is wrong in any file.
    """

    def __init__(
        self, registry: Registry, *, users: Path | None = None, shipped: Path = SHIPPED, command: str = "/aeterna"
    ) -> None:
        self._registry = registry
        self._command = command
        self._entries: dict[str, _Entry] = {}
        problems: list[str] = []
        for folder in (shipped, users) if users else (shipped,):
            entries, said = _read(folder, registry)
            problems += said + expansion.problems(folder / MIGRATIONS.name, registry)
            self._entries |= entries
        if problems:
            raise UserMistake("\n".join(problems), way_out="`aeterna-bot runbooks lint FOLDER` checks a folder.")

    def names(self) -> Sequence[str]:
        """Every runbook's name, in alphabetical order."""
        return sorted(self._entries)

    def text(self, name: str) -> str:
        """The YAML as it was when the bot started; raises ``UserMistake`` for an unknown name."""
        return self._entry(name).text

    def parse(self, text: str) -> Runbook:
        """A runbook from a run's own copy of the text. Raises ``UserMistake`` when this version no longer reads it."""
        known = next((entry.loaded for entry in self._entries.values() if entry.text == text), None)
        # Nearly every run's copy is that of a file that was read at the start, and YAML takes longer than all else
        # that is done when a run is asked for.
        return known or loader.load(yamlfile.parse(text, name="the runbook"), self._registry)[1]

    def inputs(self, name: str, given: Mapping[str, str]) -> dict[str, Json]:
        """Validated inputs, defaults filled in. Raises ``UserMistake`` naming the input and the right form."""
        declared = self._entry(name).written.inputs
        form = self.usage(name)
        for key in given:
            if key not in declared:
                raise UserMistake(f"`{name}` takes no `{key[:40]}`.", way_out=f"Write `{form}`.")
        return {key: _input(key, wanted, given.get(key), form) for key, wanted in declared.items()}

    def expand(self, runbook: Runbook, facts: Facts) -> Runbook:
        """With the steps that the plan's migration notes add around ``helm.upgrade``; see ``runbooks.expansion``."""
        return expansion.expanded(runbook, facts, self._registry)

    def usage(self, name: str) -> str:
        """How it is asked for: ``/aeterna upgrade 0.2.1``, ``/aeterna rollback [12]``."""
        words = [self._command, as_typed(name)]
        for key, wanted in self._entry(name).written.inputs.items():
            if wanted.type == "bool":
                words.append(f"[--{key.replace('_', '-')}]")
                continue
            example = "|".join(wanted.choices) or _EXAMPLES[wanted.type]
            words.append(example if wanted.required else f"[{example}]")
        return " ".join(words)

    def input_names(self, name: str) -> Sequence[str]:
        """The inputs in the order in which they are declared, which is the order of a command's words."""
        return list(self._entry(name).written.inputs)

    def lint(self, folder: Path) -> list[str]:
        """What is wrong in a folder's runbooks and in its ``migrations``, one line each; empty when all is well."""
        return _read(folder, self._registry)[1] + expansion.problems(folder / MIGRATIONS.name, self._registry)

    def _entry(self, name: str) -> _Entry:
        if name not in self._entries:
            near = process.extractOne(name, list(self._entries), score_cutoff=50)
            hint = f"Did you mean `{near[0]}`?" if near else f"There are: {', '.join(self.names())}."
            raise UserMistake(f"There is no runbook `{name[:40]}`.", way_out=hint)
        return self._entries[name]


def _read(folder: Path, registry: Registry) -> tuple[dict[str, _Entry], list[str]]:
    if not folder.is_dir():
        return {}, [f"{folder}: there is no such folder"]
    entries: dict[str, _Entry] = {}
    problems: list[str] = []
    for path in _files(folder):
        try:
            text = path.read_text(encoding="utf-8")
            written, loaded = loader.load(yamlfile.parse(text, name=str(path)), registry)
        except UserMistake as error:
            problems += str(error).splitlines()
            continue
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{path}: cannot be read: {error}")
            continue
        if written.name in entries:
            problems.append(f"{path}: another file of this folder is also named {written.name!r}")
        entries[written.name] = _Entry(text, written, loaded)
    return entries, problems


def _files(folder: Path) -> Iterator[Path]:
    yield from sorted(path for path in folder.iterdir() if path.suffix in {".yaml", ".yml"} and path.is_file())


def _input(name: str, wanted: InputDocument, given: str | None, form: str) -> Json:
    text = (given or "").strip()
    if wanted.type == "bool":
        return _flag(name, wanted, text.lower(), form)
    if not text:
        if wanted.required:
            what = {"chart_version": "version", "revision": "revision"}.get(wanted.type, name)
            raise UserMistake(f"Which {what}?", way_out=f"Write `{form}`.")
        return wanted.default
    if len(text) > _LONGEST_INPUT:
        raise UserMistake(f"`{name}` is longer than {_LONGEST_INPUT:,} characters.", way_out=f"Write `{form}`.")
    if wanted.type == "chart_version":
        try:
            return str(parse_version(text))
        except UserMistake as error:
            raise UserMistake(error.message, way_out=f"Write `{form}`. {error.way_out}".strip()) from error
    if wanted.type == "version_range":
        return _range(text, form)
    if wanted.type == "component":
        return text.lower()
    if wanted.choices and text not in wanted.choices:
        raise UserMistake(f"`{name}` is one of {', '.join(wanted.choices)}.", way_out=f"Write `{form}`.")
    if wanted.type == "revision":
        if not re.fullmatch(r"[0-9]{1,7}", text) or not 0 < int(text) <= _LARGEST_REVISION:
            shown = re.sub(r"[`\s]+", " ", text[:40])
            raise UserMistake(f"`{shown}` is not a revision.", way_out=f"Revisions are numbers: `{form}`.")
        return int(text)
    return text


def _flag(name: str, wanted: InputDocument, text: str, form: str) -> bool:
    if text and text not in _FLAG:
        raise UserMistake(f"`--{name}` is there or not; it takes no `{text[:40]}`.", way_out=f"Write `{form}`.")
    return _FLAG[text] if text else bool(wanted.default)


def _range(text: str, form: str) -> str:
    """``FROM..TO`` with two versions in order."""
    low, dots, high = text.replace("…", "..").partition("..")
    try:
        first, last = parse_version(low), parse_version(high)
    except UserMistake as error:
        raise UserMistake(error.message, way_out=f"Write `{form}`. {error.way_out}".strip()) from error
    if not dots or not first < last:
        raise UserMistake(
            "The older version comes first, then two dots, then the newer one.", way_out=f"Write `{form}`."
        )
    return f"{first}..{last}"
