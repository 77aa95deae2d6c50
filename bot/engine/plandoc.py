"""``plan.json``: the whole plan as a file, for machines and for whoever wants to read everything.

The shape is versioned (``"version": 1``, described in docs/plan.md) and its order is stable: two plans that say the same
are the same text.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from bot.engine.parts import without_parts
from bot.redaction import redact_values
from bot.store.records import FindingRecord, PlanRecord, RunRecord

VERSION = 1


def plan_json(run: RunRecord, plan: PlanRecord) -> str:
    """The document, indented, with a newline at its end; secrets are redacted."""
    return json.dumps(redact_values(document(run, plan)), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def document(run: RunRecord, plan: PlanRecord) -> dict[str, Any]:
    """The document as plain data."""
    counts = Counter(finding.level for finding in plan.findings)
    return {
        "version": VERSION,
        "target": run.target,
        "runbook": run.runbook,
        "inputs": dict(run.inputs),
        "supplied": dict(run.supplied),
        "digest": plan.digest,
        "bindings": dict(plan.bindings),
        "verdict": "blocked" if counts["blocker"] else "incomplete" if any(map(_unseen, plan.findings)) else "ready",
        "counts": {level: counts[level] for level in ("blocker", "warning", "info")},
        "findings": [
            {
                "check": finding.check,
                "level": finding.level,
                "code": finding.code,
                "subject": finding.subject,
                "text": finding.text,
                "way_out": finding.way_out,
                "override": finding.override,
            }
            for finding in plan.findings
        ],
        "facts": without_parts(plan.facts),
    }


def _unseen(finding: FindingRecord) -> bool:
    return finding.unseen
