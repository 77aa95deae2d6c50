"""What goes wrong with a program, in a sentence that says what to do."""

from __future__ import annotations


class ToolError(Exception):
    """A program of the throwaway world can neither be found nor made; the text says why and the way out."""
