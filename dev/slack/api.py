"""The Web API as Slack answers it: tokens, scopes, membership, limits and faults, then local-slack.

Every call of the bot is recorded. What the project does not use answers ``unknown_method``.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from dev.slack.blocks import view_problems
from dev.slack.checks import Refusal, check_message, check_trigger, check_view_hash
from dev.slack.faults import Faults
from dev.slack.inbound import Inbound
from dev.slack.methods import METHODS, Method, Rates
from dev.slack.mirror import Changes, Mirror
from dev.slack.model import APP_TOKEN, BOT_TOKEN, BOT_USER_ID, Call, Json, Limits, SlackUserGroup
from dev.slack.sockets import Sockets

_JSON_IN_FORMS = ("blocks", "attachments", "view", "metadata", "files")
_NEEDS_MEMBERSHIP = {
    "chat.postMessage",
    "chat.postEphemeral",
    "chat.meMessage",
    "conversations.history",
    "conversations.replies",
    "files.completeUploadExternal",
    "reactions.add",
    "reactions.remove",
}
_NEEDS_CHANNEL = {*_NEEDS_MEMBERSHIP, "chat.update", "chat.delete", "chat.getPermalink", "conversations.info"}


@dataclass(frozen=True)
class Answer:
    """An HTTP answer of the Web API."""

    body: Json
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class WebApi:
    """Answers ``/api/METHOD``."""

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        upstream: str,
        public: str,
        limits: Limits,
        scopes: tuple[str, ...],
        user_groups: tuple[SlackUserGroup, ...],
        mirror: Mirror,
        inbound: Inbound,
        sockets: Sockets,
        faults: Faults,
        changes: Changes,
    ) -> None:
        self._session = session
        self._upstream = upstream
        self._public = public
        self._scopes = scopes
        self._mirror = mirror
        self._inbound = inbound
        self._sockets = sockets
        self._faults = faults
        self._changes = changes
        self._rates = Rates()
        self._posted: dict[tuple[str, str], asyncio.Future[Json]] = {}
        self._block_ids = 0
        self._ending = asyncio.Event()
        self._here: dict[str, Callable[[Json], Awaitable[Json]]] = {
            "api.test": self._api_test,
            "apps.connections.open": self._open_connection,
            "chat.postMessage": self._post_message,
            "views.open": self._open_view,
            "views.push": self._push_view,
            "views.update": self._update_view,
            "usergroups.list": self._list_groups,
            "usergroups.users.list": self._list_group_users,
        }
        self.limits = limits
        self.user_groups = {group.id: group for group in user_groups}
        self.calls: list[Call] = []

    def stop(self) -> None:
        """Lets go of calls that a fault holds back."""
        self._ending.set()

    async def handle(self, request: web.Request) -> web.Response:
        """One call: fault, checks, effect, record."""
        method = request.match_info["method"]
        token, args = await _read(request)
        call = Call(method, time.monotonic(), args)
        self.calls.append(call)
        self._changes.report()
        fault = self._faults.take(method)
        call.fault = fault.kind if fault else None
        if fault and fault.kind == "timeout":
            await _wait(self._ending, fault.delay)
            return _hang_up(request)
        if fault and fault.kind == "http_500":
            call.status = 500
            return web.Response(
                status=500, text="<html><body>Internal Server Error</body></html>", content_type="text/html"
            )
        if fault and fault.kind == "ratelimited":
            answer = _rate_limited(fault.retry_after)
        else:
            answer = await self._answer(method, token, args)
        if fault and fault.kind == "answer_lost":
            self._changes.report()
            return _hang_up(request)
        call.answer, call.status = answer.body, answer.status
        self._changes.report()
        return web.json_response(answer.body, status=answer.status, headers=answer.headers)

    async def forward(self, method: str, args: Json) -> Json:
        """Has local-slack do it, as the bot, and puts the message in the mirror. Addresses become ours."""
        headers = {"Authorization": f"Bearer {BOT_TOKEN}"}
        async with self._session.post(f"{self._upstream}/api/{method}", json=args, headers=headers) as answer:
            text = await answer.text()
        body: Json = json.loads(text.replace(self._upstream, self._public))
        if body["ok"] and isinstance(body.get("message"), dict):
            self._mirror.put(body["message"])
        return body

    async def _answer(self, method: str, token: str | None, args: Json) -> Answer:
        spec = METHODS.get(method)
        if spec is None:
            return Answer({"ok": False, "error": "unknown_method", "req_method": method})
        headers = {"X-OAuth-Scopes": ",".join(self._scopes)} if token == BOT_TOKEN else {}
        try:
            self._check_token(spec, token)
            if self.limits.rates:
                wait = self._rates.retry_after(method, args, self.limits, time.monotonic())
                if wait is not None:
                    return _rate_limited(wait)
            self._check(method, args)
            body = await self._effect(method, self._complete(method, args))
        except Refusal as refusal:
            body = refusal.body
        return Answer(self._as_slack(method, body), headers=headers)

    async def _effect(self, method: str, args: Json) -> Json:
        here = self._here.get(method)
        return await (here(args) if here else self.forward(method, args))

    def _check_token(self, spec: Method, token: str | None) -> None:
        if spec.token == "any":
            return
        if not token:
            raise Refusal("not_authed")
        if token not in (BOT_TOKEN, APP_TOKEN):
            raise Refusal("invalid_auth")
        if (spec.token == "app") != (token == APP_TOKEN):
            raise Refusal("not_allowed_token_type")
        if spec.scope and self.limits.scopes and spec.scope not in self._scopes:
            raise Refusal("missing_scope", needed=spec.scope, provided=",".join(self._scopes))

    def _check(self, method: str, args: Json) -> None:
        if method in _NEEDS_CHANNEL:
            self._check_channel(method, args)
        if method.startswith("chat.") and method not in ("chat.delete", "chat.getPermalink"):
            check_message(method, args, self.limits, self._mirror)
        if method.startswith("views."):
            if self.limits.sizes and (problems := view_problems(args.get("view"))):
                raise Refusal("invalid_arguments", response_metadata={"messages": problems})
            if method in ("views.open", "views.push"):
                check_trigger(args.get("trigger_id"), self.limits, self._inbound)
            check_view_hash(method, args, self._mirror)

    def _check_channel(self, method: str, args: Json) -> None:
        name = str(args.get("channel") or args.get("channel_id") or "")
        if not name and method == "files.completeUploadExternal":
            return  # an upload without a channel is shared nowhere
        if name in self._mirror.users or name.startswith("D"):
            return  # a direct message: local-slack knows
        channel = self._mirror.channels.get(self._mirror.channel_id(name) or "")
        if channel is None:
            raise Refusal("channel_not_found")
        if method in _NEEDS_MEMBERSHIP and BOT_USER_ID not in channel["members"]:
            raise Refusal("not_in_channel")

    def _complete(self, method: str, args: Json) -> Json:
        """Slack gives every block an id when it has none."""
        if not (method.startswith("chat.") and args.get("blocks")):
            return args
        blocks = []
        for block in args["blocks"]:
            self._block_ids += 1
            blocks.append({"block_id": f"b{self._block_ids}", **block})
        return {**args, "blocks": blocks}

    async def _post_message(self, args: Json) -> Json:
        """A repeated client_msg_id answers with the first message and posts nothing."""
        if not args.get("client_msg_id"):
            return await self.forward("chat.postMessage", args)
        key = (str(args["channel"]), str(args["client_msg_id"]))
        if (first := self._posted.get(key)) is not None:
            answer = await asyncio.shield(first)
            if answer["ok"] and self._mirror.message(answer["channel"], answer["ts"]) is None:
                raise Refusal("duplicate_message_not_found")
            return answer
        self._posted[key] = asyncio.get_running_loop().create_future()
        try:
            answer = await self.forward("chat.postMessage", args)
        except BaseException:
            self._posted.pop(key).cancel()
            raise
        self._posted[key].set_result(answer)
        if not answer["ok"]:
            del self._posted[key]
        return answer

    async def _open_view(self, args: Json) -> Json:
        answer = await self.forward("views.open", args)
        if answer["ok"]:
            self._mirror.modals.opened(answer["view"], on_top=False)
        return answer

    async def _push_view(self, args: Json) -> Json:
        answer = await self.forward("views.push", args)
        if answer["ok"]:
            self._mirror.modals.opened(answer["view"], on_top=True)
        return answer

    async def _update_view(self, args: Json) -> Json:
        modals = self._mirror.modals
        if (view := modals.find(args)) is None:
            raise Refusal("not_found")
        kept = view["id"]
        answer = await self.forward("views.update", {**args, "view_id": modals.local_id(kept)})
        if answer["ok"]:
            answer["view"] = modals.updated(kept, answer["view"])
        return answer

    async def _api_test(self, args: Json) -> Json:
        if error := args.get("error"):
            raise Refusal(str(error), args=args)
        return {"ok": True, "args": args}

    async def _open_connection(self, args: Json) -> Json:
        del args
        return {"ok": True, "url": f"{self._public.replace('http', 'ws', 1)}/socket/{self._sockets.ticket()}"}

    async def _list_groups(self, args: Json) -> Json:
        with_users = str(args.get("include_users", "")).lower() in ("1", "true")
        groups = []
        for group in self.user_groups.values():
            one: Json = {"id": group.id, "handle": group.handle, "name": group.name, "date_delete": 0}
            one |= {"is_usergroup": True, "user_count": len(group.users)}
            groups.append({**one, "users": list(group.users)} if with_users else one)
        return {"ok": True, "usergroups": groups}

    async def _list_group_users(self, args: Json) -> Json:
        group = self.user_groups.get(str(args.get("usergroup")))
        if group is None:
            raise Refusal("no_such_subteam")
        return {"ok": True, "users": list(group.users)}

    def _as_slack(self, method: str, body: Json) -> Json:
        """Corrects what local-slack answers differently."""
        if not body.get("ok"):
            return body
        if method == "chat.delete":
            self._mirror.drop(body["channel"], body["ts"])
        for channel in [body.get("channel"), *body.get("channels", ())]:
            if isinstance(channel, dict) and "is_member" in channel:
                members = self._mirror.channels.get(channel["id"], {}).get("members", ())
                channel["is_member"] = BOT_USER_ID in members
        if method in ("conversations.history", "conversations.replies"):
            body["messages"] = [m for m in body["messages"] if "ephemeral_to" not in m]
        return body


async def _read(request: web.Request) -> tuple[str | None, Json]:
    """The token and the arguments, from wherever Slack takes them."""
    args: Json = dict(request.query)
    if request.content_type == "application/json":
        body = await request.text()
        args |= json.loads(body) if body else {}
    else:
        args |= {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    for name in _JSON_IN_FORMS:
        if isinstance(args.get(name), str):
            args[name] = _decoded(args[name])
    header = request.headers.get("Authorization", "")
    in_args = args.pop("token", None)
    return (header.removeprefix("Bearer ") if header else in_args), args


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _rate_limited(retry_after: int) -> Answer:
    return Answer({"ok": False, "error": "ratelimited"}, 429, {"Retry-After": str(retry_after)})


def _hang_up(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
