"""Secrets planted wherever a plan or a failed upgrade looks, and searched for in Slack, the database, the logs and on disk."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiosqlite
import yaml
from aiohttp import web

from dev import configuration
from dev.charts import light_values
from dev.charts.versions import Edit
from dev.controlplane.kwok import in_cri_format
from tests.journeys.journey import Journey
from tests.journeys.planted import PATTERN, Corpus, assigned, basic, control, objects, private_key, tokens, values
from tests.slack.support import everything

BEFORE, HOOK, STUCK, FAIL, REFUSED, MISSING = "0.2.60", "0.2.61", "0.2.62", "0.2.63", "0.2.64", "0.2.65"
FILE = "templates/aeterna/service.yaml"
START = "{{- if .Values.aeterna.enabled }}\n"
OBJECTS = "{{- range .Values.objects }}\n---\n{{ toYaml . }}\n{{- end }}\n---\n"
JOB = """
apiVersion: batch/v1
kind: Job
metadata:
  name: aeterna-planted
  annotations: {"helm.sh/hook": post-upgrade, "helm.sh/hook-delete-policy": before-hook-creation}
spec:
  backoffLimit: 0
  template:
    metadata: {labels: {planted: hook}}
    spec:
      restartPolicy: Never
      containers:
        - {name: hook, image: "example/hook:nopull"}
---
"""
QUOTES = (
    '{{ fail (printf "plain-fail-words: %s is too weak, and so is %s for %s" '
    ".Values.db.password .Values.passphrase .Values.smtp.pass) }}\n"
)
NEEDS = (
    '{{ $sink := required (printf "plain-missing-words: audit.sink is required beside %s" .Values.db.password) '
    "(.Values.audit | default dict).sink }}\n"
)
LABEL = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: plain-refused-words
  labels: {"planted": {{ .Values.passphrase | quote }}}
---
"""


def _publish(world: Journey, corpus: Corpus) -> None:
    """The chart's versions: what is installed, and the ways to fail."""
    pull = Edit("values.yaml", '    tag: ""\n    pullPolicy', '    tag: "0.2.62-nopull"\n    pullPolicy')
    changes = [{"kind": "changed", "description": line} for line in corpus.text("changelog").splitlines()]
    for version, template, more in (
        (BEFORE, OBJECTS, ()),
        (HOOK, OBJECTS + JOB, ()),
        (STUCK, OBJECTS, (pull,)),
        (FAIL, QUOTES, ()),
        (REFUSED, OBJECTS + LABEL, ()),
        (MISSING, NEEDS, ()),
    ):
        edits = [Edit(FILE, START, template + START), *more]
        world.charts.add(version, base="0.2.1", edits=edits, changes=changes if version == HOOK else ())


def _fill(corpus: Corpus) -> None:
    """Shapes and names take turns in the places that others write to."""
    places = ["hook-log", "events", "changelog", "notes", "status"]
    lines = {**tokens(corpus), **assigned(corpus), "basic": basic(corpus)}
    for number, (name, (line, secret)) in enumerate(lines.items()):
        corpus.plant(places[number % len(places)], name, line, secret)
    pem, line = private_key(corpus, "OPENSSH ")
    corpus.plant("hook-log", "PEM", pem, line)


@asynccontextmanager
async def _release_notes(text: str) -> AsyncIterator[str]:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=text, content_type="text/markdown")

    application = web.Application()
    application.router.add_get("/{version}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/{{version}}"
    finally:
        await runner.cleanup()


@contextmanager
def _logs() -> Iterator[io.StringIO]:
    """What the bot would write to its standard error at the level DEBUG of its own modules."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root, ours = logging.getLogger(), [logging.getLogger(name) for name in ("bot", "handlers", "runbooks")]
    root.addHandler(handler)
    levels = [root.level, *(one.level for one in ours)]
    root.setLevel(logging.INFO)
    for one in ours:
        one.setLevel(logging.DEBUG)
    try:
        yield written
    finally:
        root.removeHandler(handler)
        for one, level in zip((root, *ours), levels, strict=True):
            one.setLevel(level)


async def _slack(world: Journey) -> str:
    """Everything that the bot ever told Slack: each call, each message, each file."""
    told = [json.dumps(call.args, ensure_ascii=False, default=str) for call in world.slack.calls]
    for channel in ("ops", "general", "inc-42"):
        try:
            messages = await world.slack.messages(channel)
        except (LookupError, KeyError):
            continue
        for message in messages:
            told += [everything(message), json.dumps(message.blocks, ensure_ascii=False)]
            told += [await world.slack.file_text(file) for file in message.files]
    return "\n".join([*told, world.slack.transcript("ops")])


async def _rows(state: Path) -> str:
    """Every row of every table."""
    async with aiosqlite.connect(state / "aeterna-bot.sqlite") as database:
        tables = [
            str(name)
            for (name,) in await database.execute_fetchall("select name from sqlite_master where type = 'table'")
        ]
        found = [await database.execute_fetchall(f"select * from {table}") for table in tables]
    assert "outbox" in tables
    return json.dumps([list(map(list, rows)) for rows in found], ensure_ascii=False, default=str)


def _files(state: Path, corpus: Corpus) -> dict[Path, list[str]]:
    """Files of the bot with a secret in them, and which. A pulled chart is what its repository has for everybody."""
    found = {}
    for path in state.rglob("*"):
        if path.is_file() and (state / "charts") not in path.parents:
            try:
                inside = corpus.found_in(path.read_bytes().decode("latin-1"))
            except FileNotFoundError:
                continue
            if inside:
                found[path] = inside
    return found


def _private(path: Path, state: Path) -> bool:
    """Whether only its owner can read a file, by its own mode and by those above it."""
    above = [one for one in path.parents if state in one.parents]
    return stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 and any(
        stat.S_IMODE(one.stat().st_mode) & 0o077 == 0 for one in above
    )


async def _event(world: Journey, kind: str, name: str, message: str) -> None:
    await asyncio.to_thread(
        world.api.create,
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": "planted-", "namespace": world.namespace},
            "involvedObject": {"kind": kind, "name": name, "namespace": world.namespace},
            "reason": "Planted",
            "message": message,
            "type": "Warning",
            "lastTimestamp": "2026-11-22T12:00:00Z",
        },
    )


async def _hook_fails(world: Journey, corpus: Corpus, log: Path) -> dict[Path, list[str]]:
    """The hook's pod ends badly, with secrets in its log and its status. Gives the bot's files while Helm was running."""
    pod = await world.pod(lambda one: "nopull" in str(one["spec"]) and "hook" in str(one["metadata"].get("labels")))
    meanwhile = await asyncio.to_thread(_files, world.directory / "state", corpus)
    modes = {path: _private(path, world.directory / "state") for path in meanwhile}
    assert all(modes.values()), modes
    await asyncio.to_thread(log.write_text, in_cri_format(corpus.text("hook-log")))
    kwok = {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Logs"}
    meta = {"name": pod["metadata"]["name"], "namespace": world.namespace}
    await asyncio.to_thread(world.api.apply, {**kwok, "metadata": meta, "spec": {"logs": [{"logsFile": str(log)}]}})
    for line in corpus.text("events").splitlines():
        await _event(world, "Job", "aeterna-planted", line)
    ended = {"exitCode": 1, "reason": "Error", "message": corpus.text("status")}
    state = {
        "name": "hook",
        "image": "x",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": ended},
    }
    await world.set_pod(pod, phase="Failed", reason="Evicted", message=corpus.text("status"), containerStatuses=[state])
    return meanwhile


async def test_sixty_secrets_planted_everywhere_are_found_nowhere(
    world: Journey, impatient: Path, tmp_path: Path
) -> None:
    corpus = Corpus()
    print(f"seed {corpus.seed}")
    old, new = values(corpus, "old-values"), values(corpus, "new-values")
    old |= {"objects": objects(corpus, "old-objects"), **light_values()}
    new |= {"objects": objects(corpus, "new-objects")}
    _fill(corpus)
    for place in ("hook-log", "events"):  # what the release's own programs may say without telling that it is a secret
        corpus.plant(place, "password again", f"starting with {new['db']['password']} at once")
        corpus.plant(place, "API key again", f"{new['llm']['apiKey']} was refused")
        corpus.plant(place, "Secret again", f"loaded {new['objects'][0]['stringData']['token']}")
    assert corpus.count() >= 60
    written = [corpus.found_in(corpus.text(place)) for place in corpus.planted]
    assert all(written), "what was planted is found where it was planted"
    _publish(world, corpus)
    supplied = tmp_path / "elsewhere" / "values.yaml"
    supplied.parent.mkdir()
    supplied.write_text(yaml.safe_dump(new))
    with _logs() as logs:
        async with _release_notes(corpus.text("notes")) as address:
            chart = {"name": "aeterna", "repo": world.charts.url, "release_notes": address}
            world.target = {**configuration.LIGHT, "values": [str(supplied)], "chart": chart}
            await world.install(BEFORE, old)
            await world.start_bot(runbooks=str(impatient), redaction={"patterns": [PATTERN]})

            await world.ask(f"diff {HOOK}")
            assert control("new-values") in await world.file(await world.card(f"{BEFORE} → {HOOK}:"), "values.diff")
            await world.ask(f"changelog {BEFORE}..{HOOK}")
            await world.card(f"{BEFORE} → {HOOK}: 1 version")
            card = await world.planned(f"upgrade {HOOK}")
            plan = {name: await world.file(card, name) for name in ("values", "manifests", "changes", "plan.json")}
            await world.approve(card)
            meanwhile = await _hook_fails(world, corpus, tmp_path / "elsewhere" / "hook.log")
            failed = await world.attention(card, "aeterna-planted")
            await world.in_thread(card, control("hook-log"))
            await world.press(failed, "Stop here")
            await world.card("❌ *Failed*", ts=card.ts)

            await _event(world, "Deployment", "aeterna", corpus.text("events"))
            stuck = await world.under_way(f"upgrade {STUCK}")
            asks = await world.attention(stuck)
            await world.press(asks, "Stop here")
            await world.card("❌ *Failed*", ts=stuck.ts)

            await world.ask(f"plan {FAIL}")
            await world.card(control("fail"))
            await world.ask(f"plan {REFUSED}")
            await world.card(control("refused"))
            await world.ask(f"upgrade {MISSING}")
            blocked = await world.card("⛔ *Cannot go ahead*", control("missing"))
            await world.press(blocked, next(label for label in blocked.buttons if label.startswith("Supply values")))
            await world.slack.wait_until(
                lambda workspace: control("missing") in json.dumps(workspace.modal), timeout=30
            )
            for report in ("status", "history"):
                await world.ask(report)
            await world.card("📋 Status of prod")
            await world.card("🕘 History of prod")
            await world.stop_bot()
    told, rows = await _slack(world), await _rows(world.directory / "state")
    state = world.directory / "state"

    assert corpus.found_in(told) == []
    assert corpus.found_in(rows) == []
    assert corpus.found_in(logs.getvalue()) == []
    assert _files(state, corpus) == {}
    assert [path.name for path in meanwhile] == ["values.json"], (
        "while Helm runs, nothing but the file that it is given"
    )
    _controls(told, rows, plan, logs.getvalue())


def _controls(told: str, rows: str, plan: dict[str, str], logs: str) -> None:
    """The same places were really looked at: what stood beside the secrets is there."""
    for place in (
        "hook-log",
        "events",
        "changelog",
        "notes",
        "status",
        "fail",
        "refused",
        "missing",
        "new-values",
        "new-objects",
    ):
        assert control(place) in told, place
    for place in ("hook-log", "events", "status", "fail", "refused", "new-values"):
        assert control(place) in rows, place
    assert control("new-values") in plan["values"]
    assert control("old-values") in plan["values"]
    assert control("new-objects") in plan["manifests"]
    assert control("changelog") in plan["changes"]
    assert "serving on port" in logs
