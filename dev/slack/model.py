"""The words of the throwaway workspace: people, channels, messages, calls, faults and limits.

Plain data without behaviour that needs a server. Times are seconds; ``time`` is the monotonic clock's.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]

TEAM_ID = "T0AETERNA"
APP_ID = "A0AETERNA"
BOT_USER_ID = "U0BOT"
BOT_NAME = "aeterna"
BOT_TOKEN = "xoxb-throwaway-bot"
APP_TOKEN = "xapp-throwaway-app"
SIGNING_SECRET = "throwaway-signing-secret"

FaultKind = Literal["ratelimited", "http_500", "timeout", "answer_lost", "drop_socket"]


@dataclass(frozen=True)
class SlackUser:
    """A person of the workspace."""

    id: str
    name: str
    real_name: str


@dataclass(frozen=True)
class SlackChannel:
    """A public channel. ``members`` are user ids, None means everybody. ``bot``: the bot is a member."""

    id: str
    name: str
    members: tuple[str, ...] | None = None
    bot: bool = True


@dataclass(frozen=True)
class SlackUserGroup:
    """A user group (``@handle``) with the ids of its users."""

    id: str
    handle: str
    name: str
    users: tuple[str, ...]


ALICE = SlackUser("U0ALICE", "alice", "Alice Archer")
BOB = SlackUser("U0BOB", "bob", "Bob Brandt")
CAROL = SlackUser("U0CAROL", "carol", "Carol Castro")
MALLORY = SlackUser("U0MALLORY", "mallory", "Mallory Munk")

DEFAULT_USERS = (ALICE, BOB, CAROL, MALLORY)
DEFAULT_CHANNELS = (
    SlackChannel("C0OPS", "ops"),
    SlackChannel("C0INC42", "inc-42"),
    SlackChannel("C0RANDOM", "random"),
    SlackChannel("C0NOBOT", "no-bot", bot=False),
)
DEFAULT_USER_GROUPS = (
    SlackUserGroup("S0RELEASE", "release-engineers", "Release engineers", (ALICE.id,)),
    SlackUserGroup("S0APPROVE", "approvers", "Approvers", (BOB.id,)),
    SlackUserGroup("S0ONCALL", "on-call", "On call", (CAROL.id,)),
)
DEFAULT_SCOPES = (
    "channels:read",
    "chat:write",
    "commands",
    "files:write",
    "im:write",
    "reactions:write",
    "usergroups:read",
    "users:read",
)


@dataclass(frozen=True)
class Limits:
    """How strict the workspace is. The defaults are Slack's documented numbers.

    ``sizes``: block and text limits. ``rates``: 429 with Retry-After. ``scopes``: methods need their scope.
    ``post_every``, ``post_burst``: seconds between chat.postMessage in one channel, and how many at once.
    ``tier_burst``: calls at once for methods with a tier. ``trigger_lifetime``: seconds in which a trigger_id
    opens one modal (None: no check). ``response_url_uses`` are allowed in ``response_url_lifetime`` seconds.
    """

    sizes: bool = True
    rates: bool = True
    scopes: bool = True
    post_every: float = 1.0
    post_burst: int = 3
    tier_burst: int = 10
    trigger_lifetime: float | None = 3.0
    response_url_uses: int = 5
    response_url_lifetime: float = 1800.0

    @classmethod
    def strict(cls) -> Limits:
        """Everything that Slack enforces."""
        return cls()

    @classmethod
    def unhurried(cls) -> Limits:
        """Slack's sizes, but no rate limits: for tests that post a lot."""
        return cls(rates=False)

    @classmethod
    def off(cls) -> Limits:
        """As kind as local-slack itself, token and membership checks excepted."""
        return cls(sizes=False, rates=False, scopes=False, trigger_lifetime=None, response_url_uses=10**9)


@dataclass(frozen=True)
class Fault:
    """A fault to inject.

    ``method``: a Web API method, or ``*`` for any. ``times``: how many calls it hits, after ``after`` others.
    ``ratelimited`` answers 429 with ``retry_after``, ``http_500`` 500; ``timeout`` holds the call back
    ``delay`` seconds, then hangs up without effect; ``answer_lost`` lets it take effect, then hangs up;
    ``drop_socket`` aborts the bot's WebSockets, at once with ``*``, else when the method is called.
    """

    kind: FaultKind
    method: str = "*"
    times: int = 1
    retry_after: int = 1
    delay: float = 3600.0
    after: int = 0


@dataclass
class Call:
    """One Web API call by the bot: arguments without the token; ``answer`` is None while none was given.

    ``status`` is the HTTP status, 0 when the connection was dropped; ``fault`` names the injected fault.
    """

    method: str
    time: float
    args: Json
    answer: Json | None = None
    status: int = 0
    fault: str | None = None

    def as_json(self) -> Json:
        """The call as one JSON object."""
        return dataclasses.asdict(self)


@dataclass
class Delivery:
    """One attempt to hand something to the bot. ``acked`` is the time of the ack, None while there is none.

    ``connection`` numbers the bot's sockets from 1 in the order they came; 0 stands for HTTP mode.
    """

    envelope_id: str
    type: str
    attempt: int
    connection: int
    time: float
    payload: Json
    acked: float | None = None


@dataclass(frozen=True)
class Happening:
    """Something that a person did (typed a command, pressed a button), for the transcript."""

    order: int
    channel: str
    user: str
    text: str


@dataclass(frozen=True)
class Message:
    """A message as the workspace holds it. ``raw`` is everything that local-slack keeps of it."""

    channel: str
    ts: str
    user: str
    text: str
    blocks: tuple[Json, ...] = ()
    files: tuple[Json, ...] = ()
    thread_ts: str | None = None
    ephemeral_to: str | None = None
    edited: bool = False
    raw: Json = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, raw: Json) -> Message:
        """Reads local-slack's form."""
        return cls(
            channel=raw["channel"],
            ts=raw["ts"],
            user=raw.get("user", ""),
            text=raw.get("text") or "",
            blocks=tuple(raw.get("blocks") or ()),
            files=tuple(raw.get("files") or ()),
            thread_ts=raw.get("thread_ts"),
            ephemeral_to=raw.get("ephemeral_to"),
            edited="edited" in raw,
            raw=raw,
        )

    @property
    def elements(self) -> list[Json]:
        """Every interactive element of the blocks (buttons, selects), each with its ``block_id``."""
        found: list[Json] = []
        for block in self.blocks:
            parts = [*block.get("elements", ()), *([block["accessory"]] if "accessory" in block else ())]
            found += [{**part, "block_id": block.get("block_id")} for part in parts if "action_id" in part]
        return found

    @property
    def buttons(self) -> list[str]:
        """The labels of the buttons, in their order."""
        return [element["text"]["text"] for element in self.elements if element["type"] == "button"]
