"""What was measured, as one line a figure, and whether it keeps its limit. No clock and no I/O here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

Kept = Literal["ratio", "most", "least"]
_NOT_MEASURED = "–"


@dataclass(frozen=True)
class Figure:
    """One figure. ``keeps`` says what ``limit`` is for: the ratio, ours at the most, or ours at the least.

    ``other`` is the same of the other side, in the same ``unit``; None where there is none.
    """

    name: str
    ours: float
    other: float | None
    limit: float
    keeps: Kept
    unit: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours divided by the other's; None without another side."""
        return self.ours / self.other if self.other else None

    @property
    def ok(self) -> bool:
        """Whether the limit holds. A ratio that could not be measured does not."""
        if self.keeps == "ratio":
            return self.ratio is not None and self.ratio <= self.limit
        return self.ours <= self.limit if self.keeps == "most" else self.ours >= self.limit

    def __str__(self) -> str:
        bound = {"ratio": "ratio≤", "most": "ours≤", "least": "ours≥"}[self.keeps]
        unit = "" if self.keeps == "ratio" else self.unit
        return (
            f"{self.name} ours={_number(self.ours)}{self.unit} "
            f"other={_NOT_MEASURED if self.other is None else f'{_number(self.other)}{self.unit}'} "
            f"ratio={_NOT_MEASURED if self.ratio is None else f'{self.ratio:.2f}'} "
            f"limit={bound}{self.limit:g}{unit} {'ok' if self.ok else 'OVER'}"
        )


def compared(
    name: str, ours: Sequence[float], other: Sequence[float], *, limit: float, unit: str, scale: float = 1.0
) -> Figure:
    """The medians of both sides, as a ratio. ``scale`` turns what was measured into ``unit``."""
    return Figure(name, median(ours) * scale, median(other) * scale, limit, "ratio", unit)


def _number(value: float) -> str:
    """Three digits that mean something, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
