"""The stack of open modals, each under the id that it was opened with.

local-slack gives a view a new id with every views.update, and when the acknowledgement of a submission changes it; Slack
keeps the first, and bots rely on it.
"""

from __future__ import annotations

from dev.slack.model import Json


class Modals:
    """The open modals, the one on top last."""

    def __init__(self) -> None:
        self.stack: list[Json] = []
        self._submitted: str | None = None  # the id, as the bot knows it, of a view that somebody sent off
        self._kept: dict[str, str] = {}  # local-slack's id → the id that the bot knows

    def find(self, args: Json) -> Json | None:
        """The open view that the arguments of views.update mean."""
        wanted = args.get("view_id") or args.get("external_id")
        return next((view for view in self.stack if wanted in (view["id"], view.get("external_id"))), None)

    def local_id(self, kept: str) -> str:
        """The id that local-slack uses now for the view that the bot knows as ``kept``."""
        now = [theirs for theirs, ours in self._kept.items() if ours == kept]
        return now[-1] if now else kept

    def opened(self, view: Json, *, on_top: bool) -> None:
        """Takes a view that was opened alone or pushed ``on_top`` of the others."""
        self.stack = [*(self.stack if on_top else ()), view]

    def updated(self, kept: str, view: Json) -> Json:
        """Takes the new form of the view ``kept`` and returns it under that id."""
        theirs = view["id"]
        self._kept[theirs] = kept
        view = self.as_kept(view)
        # The page's own frame may have come first, still under the new id.
        self.stack = [view if one["id"] in (kept, theirs) else one for one in self.stack]
        return view

    def submitted(self) -> None:
        """The view on top was sent off: what comes in its place is the same view, changed by the acknowledgement."""
        self._submitted = self.stack[-1]["id"] if self.stack else None

    def shown(self, stack: list[Json]) -> None:
        """Takes the whole stack as the page has it."""
        known = {view["id"] for view in self.stack} | self._kept.keys()
        if stack and self._submitted is not None and len(stack) == len(self.stack) and stack[-1]["id"] not in known:
            self._kept[stack[-1]["id"]] = self._submitted
        self._submitted = None
        self.stack = [self.as_kept(view) for view in stack]

    def as_kept(self, view: Json) -> Json:
        """The view under the ids that the bot knows."""
        ids = ("id", "root_view_id", "previous_view_id")
        return {**view, **{name: self._kept.get(view[name], view[name]) for name in ids if name in view}}
