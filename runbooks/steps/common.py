"""What step kinds share: the empty parameters, and a reading step that leaves nothing to reconcile."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from bot.engine.contract import Facts, NotStarted, Reconciled, Repeat, StepContext


class Params(BaseModel):
    """Base of every step kind's ``with``: nothing unknown is taken."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ReadingStep:
    """A step that changes nothing: it may be stopped and repeated at any time."""

    repeat: ClassVar[Repeat] = Repeat.SAFE
    mutates: ClassVar[bool] = False
    interruptible: ClassVar[bool] = True

    async def intend(self, context: StepContext, params: Any) -> Facts:
        """Nothing is changed, so nothing has to be remembered."""
        return {}

    async def reconcile(self, context: StepContext, params: Any, intent: Facts) -> Reconciled:
        """It may always be done again."""
        return NotStarted()
