"""Slack's limits, in one place. Numbers from the Block Kit and Web API reference; lengths are in characters."""

from __future__ import annotations

BLOCKS = 50
"""Blocks in one message."""
BLOCKS_TEXT = 10_000
"""All texts of one message's blocks together; Slack answers ``msg_blocks_too_long`` somewhere above 11,000."""
SECTION = 3_000
HEADER = 150
CONTEXT = 3_000
CONTEXT_ELEMENTS = 10
BUTTONS = 25
BUTTON_TEXT = 75
BUTTON_VALUE = 2_000
CONFIRM_TITLE = 100
CONFIRM_TEXT = 300
CONFIRM_BUTTON = 30
TEXT = 4_000
"""The ``text`` of a message. Slack cuts at 40,000 without saying so and recommends at most 4,000."""
COMMAND = 1_000
"""The longest command line that the bot reads; the longest sensible one has about 100."""
MODAL_BLOCKS = 100
MODAL_TITLE = 24
"""Title, submit and close of a modal."""
INPUT_LABEL = 2_000
INPUT_HINT = 2_000
INPUT_TEXT = 3_000
"""The longest text that one field of a modal takes."""
OPTIONS = 100
CHECKBOXES = 10
"""Options of one group of checkboxes."""
OPTION_TEXT = 75
