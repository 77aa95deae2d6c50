"""A runbook as it is written in YAML: the shape of the file, checked by pydantic, and nothing of what it means."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bot.engine.contract import ApprovalPolicy, OnFailure
from bot.settings import Duration, Permission

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputDocument(_Part):
    """One thing that the person gives.

    ``chart_version`` is checked as such, ``version_range`` is two of them (``0.1.0..0.2.1``), ``revision`` is a positive number.
    A ``string`` may be held to ``choices``. A ``component`` is one of the target's, a ``bool`` a flag without a value
    (``--all``), false unless it is there.
    """

    type: Literal["chart_version", "version_range", "revision", "string", "bool", "component"]
    required: bool = False
    default: str | int | bool | None = None
    choices: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_of_both(self) -> InputDocument:
        if self.required and self.default is not None:
            raise ValueError("an input with a default is never missing; drop one of required and default")
        if self.choices and self.type != "string":
            raise ValueError("choices are for an input of the type string")
        if self.type == "bool" and (self.required or not isinstance(self.default or False, bool)):
            raise ValueError("a flag is never required, and its default is true or false")
        return self


class CheckDocument(_Part):
    """One check of the plan, by name."""

    check: str


class ApprovalDocument(_Part):
    """How many people must say yes; what is left out is as strict as the engine's own default."""

    count: Annotated[int, Field(ge=1, le=20)] = ApprovalPolicy().count
    exclude_requester: bool = ApprovalPolicy().exclude_requester
    expires: Duration | None = None
    incident: Permission | None = None

    def policy(self) -> ApprovalPolicy:
        return ApprovalPolicy(
            count=self.count,
            exclude_requester=self.exclude_requester,
            expires=self.expires,
            incident=self.incident.value if self.incident else None,
        )


class OverrideDocument(_Part):
    """A kind of blocker that a person may go on in spite of, and the permission that this takes."""

    code: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$")]
    permission: Permission = Permission.OVERRIDE


class StepDocument(_Part):
    """One step. ``if`` and ``unless`` may not both be there, so that nobody has to work out which one wins."""

    id: Identifier
    uses: str
    title: Annotated[str, Field(min_length=1, max_length=80)] | None = None
    when: str | bool | None = Field(default=None, alias="if")
    unless: str | bool | None = None
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    timeout: Duration | None = None
    on_failure: OnFailure = OnFailure.STOP

    @model_validator(mode="after")
    def _one_condition(self) -> StepDocument:
        if self.when is not None and self.unless is not None:
            raise ValueError("write either if or unless, not both")
        return self


class RunbookDocument(_Part):
    """The whole file."""

    name: Identifier
    summary: Annotated[str, Field(min_length=1, max_length=150)]
    permission: Permission | None = None
    report: bool = False
    emergency: bool = False
    inputs: dict[Identifier, InputDocument] = Field(default_factory=dict)
    plan: tuple[CheckDocument, ...] = ()
    approval: ApprovalDocument | None = None
    overrides: tuple[OverrideDocument, ...] = ()
    steps: tuple[StepDocument, ...] = ()

    @model_validator(mode="after")
    def _does_something(self) -> RunbookDocument:
        if not self.plan and not self.steps:
            raise ValueError("a runbook needs a plan, steps, or both")
        if self.emergency and self.approval is None:
            raise ValueError("an emergency is confirmed by a person: it needs approval")
        return self

    def asked_permission(self) -> Permission:
        """What a person needs: as written, else the one that is called like the runbook, else to view."""
        if self.permission is not None:
            return self.permission
        if self.emergency:
            return Permission.EMERGENCY
        return Permission(self.name) if self.name in set(Permission) else Permission.VIEW
