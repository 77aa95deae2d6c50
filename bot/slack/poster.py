"""The outbox's poster: brings what the journal wants said into Slack, each message once, the newest state last.

A card is rendered when it is sent, so states that nobody saw are skipped and the last one never is. A lost answer is
repeated under the same ``client_msg_id``, by which Slack knows the message. One replica posts at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from bot.errors import BotError, Temporary
from bot.slack import thread
from bot.slack.calls import GONE, UNFIT, SlackRefused
from bot.slack.card import METADATA, card
from bot.slack.markup import prose
from bot.slack.pace import Pace
from bot.slack.render import Button, SlackMessage
from bot.slack.sender import Sender
from bot.store.journal import Journal
from bot.store.outbox import Outbox, OutboxItem, OutboxKind
from bot.store.records import RunRecord

_log = logging.getLogger(__name__)
_LONGEST_WAIT = 30.0
_TOKEN_WAIT = 30.0
_LOOK = 1.0  # another replica may have enqueued
_SETTLE = 0.05  # writes come in rows, and whoever made them goes first: the cluster is changed before a card says so


class Poster:
    """Delivers the outbox while ``run`` runs.

    ``buttons`` gives the buttons that a run's card has now. ``update_interval``: seconds between two edits of one card;
    ``post_interval``: seconds between two posts in one channel. ``trouble`` is None, or why nothing gets through.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        journal: Journal,
        sender: Sender,
        buttons: Callable[[RunRecord], Sequence[Button]],
        command: str = "/aeterna",
        update_interval: float = 1.5,
        post_interval: float = 1.0,
    ) -> None:
        self._outbox = outbox
        self._journal = journal
        self._sender = sender
        self._buttons = buttons
        self._command = command
        self._pace = Pace(update_interval=update_interval, post_interval=post_interval)
        self._flying: dict[int, asyncio.Task[None]] = {}
        self._channels: set[str] = set()  # in which a post is under way
        self._landed = asyncio.Event()
        self._shown: dict[
            int, SlackMessage
        ] = {}  # by outbox id: what Slack shows, to spare an edit that changes nothing
        self._tried: set[int] = set()  # posted by this process, but the database may not know
        self._inherited: frozenset[int] | None = None  # due at the start: a life before may have posted them
        self._links: dict[str, str] = {}  # by run: the address of its card
        self._told: set[int] = set()  # cards that cannot be shown, whose requester knows
        self.trouble: str | None = None

    async def run(self) -> None:
        """Until cancelled; what is under way then is left to the next start, which repeats it safely."""
        self._shown.clear()  # another replica may have posted and edited since this one did
        self._inherited = None
        try:
            while True:
                wait = await self._launch()
                await self._rest(wait)
        finally:
            await self._land()

    async def _land(self) -> None:
        """Cuts off what is under way. It may still reach Slack after what another replica posts: those go out once more."""
        cut_off = list(self._flying)
        tasks = list(self._flying.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._flying.clear()
        self._channels.clear()
        if cut_off:
            try:
                await self._outbox.again(cut_off)
            except Temporary as error:
                _log.warning("a card may show an older state until its next change: %s", error)

    # -- inside ---------------------------------------------------------------------------------------------

    async def _launch(self) -> float:
        """Starts what may go now; the seconds after which more may."""
        now = asyncio.get_running_loop().time()
        wait = _LOOK
        try:
            due = await self._outbox.due(limit=100)
        except Temporary as error:
            _log.warning("the outbox cannot be read: %s", error)
            return wait
        if self._inherited is None:
            self._inherited = frozenset(item.id for item in due)
        for item in due:
            if item.id in self._flying:
                continue
            posts = item.ts is None
            left = self._pace.left(item, now) if not (posts and item.channel in self._channels) else _LOOK
            if left > 0:
                wait = min(wait, left)
                continue
            self._fly(item, posts=posts)
        return wait

    def _fly(self, item: OutboxItem, *, posts: bool) -> None:
        if posts:
            self._channels.add(item.channel)
        task = asyncio.create_task(self._deliver(item), name=f"post {item.key}")
        self._flying[item.id] = task

        def landed(task: asyncio.Task[None]) -> None:
            del self._flying[item.id]
            if posts:
                self._channels.discard(item.channel)
            self._landed.set()
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.error("%s stays due: %s", item.key, error)  # the database did not take the result

        task.add_done_callback(landed)

    async def _rest(self, seconds: float) -> None:
        """Until something was enqueued, something landed, or the time passed."""
        waits: list[Coroutine[Any, Any, Any]] = [self._outbox.wait(seconds), self._landed.wait()]
        tasks = [asyncio.create_task(wait) for wait in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._landed.clear()
        await asyncio.sleep(_SETTLE)

    async def _deliver(self, item: OutboxItem) -> None:
        try:
            await (self._card(item) if item.kind is OutboxKind.CARD else self._reply(item))
            self.trouble = None
        except Temporary as error:
            wait = error.retry_after if error.retry_after is not None else self._backoff(item)
            if error.retry_after is not None:
                self._pace.told(item, asyncio.get_running_loop().time(), error.retry_after)
            self._shown.pop(item.id, None)
            _log.warning("%s waits %.1f s: %s", item.key, wait, error.message)
            await self._outbox.postpone(item, seconds=wait, error=error.message)
        except SlackRefused as error:
            await self._refused(item, error)
        except BotError as error:
            _log.exception("%s cannot be delivered", item.key)
            await self._outbox.give_up(item, error=error.message)
        except Exception as error:  # noqa: BLE001 - a mistake in ours must not stop the others' messages
            _log.exception("%s cannot be delivered", item.key)
            await self._outbox.postpone(item, seconds=self._backoff(item), error=repr(error)[:500])

    async def _card(self, item: OutboxItem) -> None:
        assert item.run_id is not None  # noqa: S101 - the journal writes no card without a run
        run = await self._journal.run(item.run_id)
        message = card(run, buttons=self._buttons(run), command=self._command, links=await self._links_of(run))
        if item.ts is not None:
            if self._shown.get(item.id) != message:
                await self._edit(item, item.ts, message)
            ts = item.ts
        else:
            metadata = {"event_type": METADATA, "event_payload": {"run": run.id}}
            tried = item.attempts > 0 or item.id in self._tried or item.id in (self._inherited or ())
            self._tried.add(item.id)
            ts = await self._post(item, message, metadata=metadata)
            if tried:  # an earlier try may have got through, with an older state
                await self._edit(item, ts, message)
        self._shown[item.id] = message
        if run.state.over:
            del self._shown[item.id]
        await self._outbox.delivered(item, ts=ts)
        self._tried.discard(item.id)

    async def _links_of(self, run: RunRecord) -> Mapping[str, str]:
        """Where the cards of the runs that this one names are; without an answer the card names the run."""
        found: dict[str, str] = {}
        for other in (run.parent, run.child, run.preempts, run.preempted_by):
            if other is None:
                continue
            if other not in self._links and (place := await self._outbox.card(other)):
                with contextlib.suppress(Temporary, SlackRefused):
                    self._links[other] = await self._sender.link(*place)
            if self._links.get(other):
                found[other] = self._links[other]
        return found

    async def _reply(self, item: OutboxItem) -> None:
        root = None
        channel = item.channel
        owner = item.run_id if item.kind is OutboxKind.THREAD else item.body.get("thread_of")
        if owner and (posted := await self._outbox.card(str(owner))):
            channel, root = posted
        content = thread.reply(item.body)
        if content is None:
            await self._outbox.delivered(item, ts="")
            return
        ts = await self._post(item, content.message, channel=channel, thread_ts=root)
        for file in content.files:
            await self._sender.upload(item.client_msg_id, file, channel=channel, thread_ts=root or ts)
        self._sender.forget(item.client_msg_id)
        await self._outbox.delivered(item, ts=ts)

    async def _post(
        self,
        item: OutboxItem,
        message: SlackMessage,
        *,
        channel: str = "",
        thread_ts: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> str:
        where = channel or item.channel
        try:
            return await self._sender.post(
                where, message, client_msg_id=item.client_msg_id, thread_ts=thread_ts, metadata=metadata
            )
        except SlackRefused as error:
            if error.code not in UNFIT:
                raise
            _log.exception("Slack does not take the blocks of %s; only its text goes out", item.key)
            return await self._sender.post(
                where, SlackMessage(message.text), client_msg_id=item.client_msg_id, thread_ts=thread_ts
            )
        finally:
            self._pace.posted(item, asyncio.get_running_loop().time())

    async def _edit(self, item: OutboxItem, ts: str, message: SlackMessage) -> None:
        try:
            await self._sender.edit(item.channel, ts, message)
        except SlackRefused as error:
            if error.code not in UNFIT:
                raise
            _log.exception("Slack does not take the blocks of %s; only its text goes out", item.key)
            await self._sender.edit(item.channel, ts, SlackMessage(message.text))
        finally:
            self._pace.edited(item, asyncio.get_running_loop().time())

    async def _refused(self, item: OutboxItem, error: SlackRefused) -> None:
        self._shown.pop(item.id, None)
        if error.code in GONE:
            _log.warning("%s is gone from Slack and is posted anew", item.key)
            await self._outbox.forget(item)
        elif error.token_is_bad:
            self.trouble = str(error)
            _log.error("%s waits: %s", item.key, error)
            await self._outbox.postpone(item, seconds=_TOKEN_WAIT, error=str(error))
        else:
            _log.error("%s (run %s, channel %s) is given up: %s", item.key, item.run_id, item.channel, error)
            await self._outbox.give_up(item, error=str(error))
            await self._tell_requester(item, error)

    async def _tell_requester(self, item: OutboxItem, error: SlackRefused) -> None:
        """A card that nobody can see is said to who asked for it, in a direct message, once."""
        if item.kind is not OutboxKind.CARD or item.run_id is None or item.id in self._told:
            return
        self._told.add(item.id)
        run = await self._journal.run(item.run_id)
        text = prose(
            f"I cannot show the card of run `{run.id}` in <#{item.channel}> ({error.code}). {error.way_out} "
            f"Then look at it with `{self._command} run {run.id}`."
        )
        with contextlib.suppress(Temporary, SlackRefused):
            await self._sender.post(run.requested_by, SlackMessage(text), client_msg_id=None)

    @staticmethod
    def _backoff(item: OutboxItem) -> float:
        longest = min(_LONGEST_WAIT, 0.5 * 2.0 ** min(item.attempts, 10))
        return longest * random.uniform(0.7, 1.0)  # noqa: S311 - spreads retries, guards nothing
