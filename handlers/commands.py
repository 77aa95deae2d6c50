"""``/aeterna …``: what was typed becomes a run, a press on a run, or an answer straight from the journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bot.engine.asking import Ask
from bot.engine.desk import Desk
from bot.engine.offers import OfferKind
from bot.errors import Refused, UserMistake
from bot.settings import Configuration, Permission
from bot.slack import card, words
from bot.slack.channels import Channels
from bot.slack.permissions import Permissions
from bot.slack.render import SlackMessage
from handlers import answers
from handlers.buttons import buttons
from handlers.emergencies import Emergencies
from handlers.externalizing import EXTERNALIZE, Externalizing
from handlers.parsing import PARTS, CommandLine, nearest, parse, part_of_diff
from handlers.presses import Presses
from handlers.vocabulary import Vocabulary, Word

_PRESSES = {
    "approve": OfferKind.APPROVE,
    "reject": OfferKind.REJECT,
    "cancel": OfferKind.CANCEL,
    "retry": OfferKind.RETRY,
    "stop": OfferKind.STOP,
}


@dataclass(frozen=True)
class Typed:
    """One command as Slack delivered it. ``key`` is the same for each delivery of it."""

    text: str
    user: str
    channel: str
    key: str
    trigger: str = ""

    @classmethod
    def of(cls, body: dict[str, Any]) -> Typed:
        return cls(
            text=str(body.get("text") or ""),
            user=str(body["user_id"]),
            channel=str(body["channel_id"]),
            key=f"command:{body['trigger_id']}",
            trigger=str(body["trigger_id"]),
        )


class Commands:
    """Does what was typed. Errors are raised; whoever calls shows them."""

    def __init__(
        self,
        *,
        config: Configuration,
        desk: Desk,
        permissions: Permissions,
        channels: Channels,
        presses: Presses,
        emergencies: Emergencies,
        externalizing: Externalizing,
        vocabulary: Vocabulary,
    ) -> None:
        self._emergencies = emergencies
        self._externalizing = externalizing
        self._config = config
        self._command = config.slack.command
        self._desk = desk
        self._permissions = permissions
        self._channels = channels
        self._presses = presses
        self._vocabulary = vocabulary

    async def __call__(self, typed: Typed) -> SlackMessage | None:
        """The answer for the person who typed; None when a card says it."""
        known = self._vocabulary.words()
        line = parse(typed.text, self._vocabulary.flags(known))
        word = known.get(line.word)
        if word is None:
            raise self._unknown(line, known)
        if word.runbook:
            await self._ask(word, line, typed)
            return None
        if line.options:
            raise UserMistake(f"--{next(iter(line.options))} does not go with {word.name}.", way_out=self._form(word))
        if word.name in _PRESSES:
            return await self._press(word, line, typed)
        match word.name:
            case "run":
                return await self._run(word, line, typed)
            case "runs":
                return await self._runs(line, typed)
            case "locks":
                return await self._locks(line, typed)
            case _:
                return await self._help(typed, known)

    # -- runbooks -------------------------------------------------------------------------------------------

    async def _ask(self, word: Word, line: CommandLine, typed: Typed) -> None:
        assert word.permission is not None  # noqa: S101 - every runbook has one
        possible = await self._permissions.targets(typed.user)
        if not possible:
            raise Refused(
                "You have no permissions here yet; you can ask for help and nothing else.",
                way_out="Whoever looks after this bot can name you in a role.",
            )
        target = self._channels.target(line.target, typed.channel, possible=possible)
        await self._permissions.require(typed.user, word.permission, target.name)
        await self._channels.check_place(target, typed.channel)
        inputs = self._inputs(word, line)
        ask = Ask(
            word.name,
            target.name,
            inputs,
            user=typed.user,
            channel=typed.channel,
            key=typed.key,
            incident=word.incident and await self._channels.incident(target, typed.channel),
            dry_run=inputs.pop("dry_run", "false") != "false",
        )
        try:
            if word.name == EXTERNALIZE and await self._externalizing.ask(ask, trigger=typed.trigger):
                return
            if word.emergency and ask.incident and not ask.dry_run:
                await self._emergencies.ask(ask, trigger=typed.trigger)
            else:
                await self._desk.ask(ask)
        except UserMistake as mistake:
            way_out = f"{mistake.way_out} {self._form(word)}".strip()
            raise UserMistake(mistake.message, way_out=way_out, evidence=mistake.evidence) from mistake

    def _inputs(self, word: Word, line: CommandLine) -> dict[str, str]:
        if len(line.arguments) > len(word.arguments):
            extra = line.arguments[len(word.arguments)]
            raise UserMistake(f"I do not know what {extra!r} means here.", way_out=self._form(word))
        inputs = dict(zip(word.arguments, line.arguments, strict=False))
        for name, value in line.options.items():
            if name in inputs:
                raise UserMistake(f"{name} is there twice.", way_out=self._form(word))
            inputs[name.replace("-", "_")] = value
        if word.name == "diff":
            self._check_diff(word, inputs)
        return inputs

    def _check_diff(self, word: Word, inputs: dict[str, str]) -> None:
        """Which part of a comparison is meant is a matter of typing; the version is the runbook's."""
        if inputs.get("version", "").lower() in PARTS:
            raise UserMistake(f"The version is missing before {inputs['version']!r}.", way_out=self._form(word))
        if "part" in inputs:
            try:
                inputs["part"] = part_of_diff(inputs["part"])
            except UserMistake as mistake:
                raise UserMistake(mistake.message, way_out=f"{mistake.way_out} {self._form(word)}") from mistake

    # -- runs -----------------------------------------------------------------------------------------------

    async def _press(self, word: Word, line: CommandLine, typed: Typed) -> SlackMessage:
        run_id, reason = self._run_id(word, line), ""
        if word.name == "reject":
            reason = line.rest.partition(" ")[2].strip()
        elif len(line.arguments) > 1:
            raise UserMistake(f"I do not know what {line.arguments[1]!r} means here.", way_out=self._form(word))
        kind = _PRESSES[word.name]
        run = await self._presses.press(kind, run_id, user=typed.user, key=typed.key, reason=reason)
        if run.cancel_requested_by and kind is OfferKind.CANCEL and not run.state.over:
            return answers.said(f"Run `{run.id}` stops at its next safe point.")
        new = "" if run.id == run_id else f" It is the new run `{run.id}`."
        return answers.said(f"Noted.{new} Run `{run.id}` {words.state(run.state)}.")

    async def _run(self, word: Word, line: CommandLine, typed: Typed) -> SlackMessage:
        run = await self._desk.run(self._run_id(word, line))
        await self._permissions.require(typed.user, Permission.VIEW, run.target)
        return card.card(run, buttons=buttons(run), command=self._command, whole=True)

    async def _runs(self, line: CommandLine, typed: Typed) -> SlackMessage:
        names = await self._seen(line, typed)
        found = [run for name in names for run in await self._desk.runs(name, 10)]
        newest = sorted(found, key=lambda run: run.created_at, reverse=True)[:10]
        return answers.runs(newest, what=", ".join(names), command=self._command)

    async def _locks(self, line: CommandLine, typed: Typed) -> SlackMessage:
        held = {name: await self._desk.holders(name) for name in await self._seen(line, typed)}
        return answers.locks(held, command=self._command)

    async def _seen(self, line: CommandLine, typed: Typed) -> list[str]:
        """The target that is meant, or every one that the person may see."""
        possible = await self._permissions.targets(typed.user, Permission.VIEW)
        if line.target is None and not self._channels.targets_here(typed.channel) and possible:
            return possible
        everything = [target.name for target in self._config.targets]
        target = self._channels.target(line.target, typed.channel, possible=possible or everything)
        await self._permissions.require(typed.user, Permission.VIEW, target.name)
        return [target.name]

    # -- words ----------------------------------------------------------------------------------------------

    async def _help(self, typed: Typed, known: dict[str, Word]) -> SlackMessage:
        here = self._channels.targets_here(typed.channel)
        may: dict[Word, list[str]] = {}
        by_permission: dict[Permission, list[str]] = {}
        for word in known.values():
            if word.permission is None:
                may[word] = []
                continue
            if word.permission not in by_permission:
                by_permission[word.permission] = await self._permissions.targets(typed.user, word.permission)
            if targets := by_permission[word.permission]:
                may[word] = targets
        return answers.help_(may, command=self._command, here=here[0].name if len(here) == 1 else None)

    def _run_id(self, word: Word, line: CommandLine) -> str:
        if not line.arguments:
            raise UserMistake(f"{word.name} needs the id of a run.", way_out=self._form(word))
        return line.arguments[0].strip("`").lower()

    def _unknown(self, line: CommandLine, known: dict[str, Word]) -> UserMistake:
        word = line.word
        family = {name.removeprefix(f"{word}-"): one for name, one in known.items() if name.startswith(f"{word}-")}
        if family:
            return self._unknown_second(line, family)
        shown = word if len(word) <= 40 else word[:40] + "…"
        near = nearest(word, known)
        way_out = f"Did you mean `{self._command} {known[near].form}`?" if near else ""
        return UserMistake(
            f"I do not know the word {shown!r}.", way_out=f"{way_out} `{self._command} help` lists all.".strip()
        )

    def _unknown_second(self, line: CommandLine, family: dict[str, Word]) -> UserMistake:
        """``emergency`` alone, or with a second word that there is not."""
        second = line.arguments[0].lower() if line.arguments else ""
        near = nearest(second, family) if second else None
        meant = f"Did you mean `{self._command} {family[near].form}`? " if near else ""
        forms = ", ".join(f"`{word.form}`" for word in family.values())
        said = f"I do not know {second[:40]!r} after {line.word!r}." if second else f"What of {line.word!r}?"
        return UserMistake(said, way_out=f"{meant}There are {forms}.")

    def _form(self, word: Word) -> str:
        return f"The right form: `{self._command} {word.form}`"
