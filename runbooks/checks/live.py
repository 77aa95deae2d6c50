"""The release's objects as the cluster has them, read while Helm still renders the new manifest: that takes longest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bot.engine.contract import PlanContext
from bot.errors import BotError
from bot.kube.loss_reading import read_live
from bot.kube.objects import ObjectRef, ref_of
from runbooks.checks.objects import base_of
from runbooks.reading import Reader

MOST: Final = 100
"""Objects. Those of a larger release are not kept in memory all together: ``comparison`` reads them some at a time."""
LiveObjects = Mapping[ObjectRef, dict[str, Any] | None]


async def live_before(context: PlanContext) -> LiveObjects:
    """The live form of what the release's manifest has, by reference; None is not there, and what is left out was not read."""
    found: LiveObjects = await context.shared.once("live objects of the release", lambda: _read(context))
    return found


async def _read(context: PlanContext) -> LiveObjects:
    reader, namespace = Reader(context), context.target.namespace
    before = await reader.objects(base_of(await reader.releases()))
    if len(before) > MOST:
        return {}
    try:
        there = await read_live(context.clients.cluster, before, namespace, managers=True)
    except BotError:  # whoever needs them reads them again, and says so if that fails too
        return {}
    return {ref_of(obj, namespace): obj for obj in there.objects} | dict.fromkeys(there.gone)
