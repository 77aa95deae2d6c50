"""A throwaway Slack workspace: local-slack behind our own strict reverse proxy.

``workspace`` is the way in for tests and the demo. ``proxy`` joins the parts: ``api`` (Web API), ``checks``
and ``blocks`` (Slack's refusals), ``sockets`` (Socket Mode), ``http_mode``, ``hooks`` (response URLs),
``faults``, and ``mirror`` (what the channels show).
"""

from dev.slack.faults import Faults
from dev.slack.model import (
    DEFAULT_CHANNELS,
    DEFAULT_USER_GROUPS,
    DEFAULT_USERS,
    Call,
    Delivery,
    Fault,
    Limits,
    Message,
    SlackChannel,
    SlackUser,
    SlackUserGroup,
)
from dev.slack.workspace import SlackWorkspace

__all__ = [
    "DEFAULT_CHANNELS",
    "DEFAULT_USERS",
    "DEFAULT_USER_GROUPS",
    "Call",
    "Delivery",
    "Fault",
    "Faults",
    "Limits",
    "Message",
    "SlackChannel",
    "SlackUser",
    "SlackUserGroup",
    "SlackWorkspace",
]
