"""Dialogs that were sent off: acknowledged with what came of them, if that is known soon enough.

Slack shows what is wrong inside the dialog only in the acknowledgement itself, and gives it three seconds. What takes longer
is closed at once and done behind it, like a command; the person hears of it then.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

from handlers import answers
from handlers.dialogs import Answer, Dialogs
from handlers.intake import Work

Body = dict[str, Any]


class Submissions:
    """Each submission is done once, however often Slack delivers it. ``patience`` is in seconds."""

    _REMEMBERED = 500

    def __init__(self, *, dialogs: Dialogs, patience: float = 1.5) -> None:
        self._dialogs = dialogs
        self._patience = patience
        self._tasks: OrderedDict[str, asyncio.Task[Answer]] = OrderedDict()

    async def acknowledge(self, body: Body, work: Work) -> Body:
        """The acknowledgement; ``work`` takes the submission over when it is not done in time."""
        known = self._task(body)
        task = known or self._begin(body)
        done, _ = await asyncio.wait({task}, timeout=self._patience)
        if done:
            answer = task.result()
            if answer.follow is not None and known is None:
                work.take(answer.follow)
            return answer.response()
        if known is None:
            work.take(body)
        return {}

    async def finish(self, body: Body) -> None:
        """Waits for a submission that was taken over, and tells the person."""
        task = self._task(body)
        if task is not None:
            await self._dialogs.tell(body, await task)

    def _begin(self, body: Body) -> asyncio.Task[Answer]:
        task = asyncio.create_task(self._done(body), name="dialog")
        self._tasks[str(body.get("trigger_id"))] = task
        if len(self._tasks) > self._REMEMBERED:
            self._tasks.popitem(last=False)
        return task

    def _task(self, body: Body) -> asyncio.Task[Answer] | None:
        return self._tasks.get(str(body.get("trigger_id")))

    async def _done(self, body: Body) -> Answer:
        try:
            return await self._dialogs.submitted(body)
        except Exception as problem:  # noqa: BLE001 - a mistake of ours: the person gets a reference, the log the rest
            return Answer(said=answers.unexpected(problem, doing="dialog"))
