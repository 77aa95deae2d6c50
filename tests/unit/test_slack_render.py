"""Limits and escaping: whatever comes in, Slack takes what goes out, and nothing in others' text acts."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.slack import limits, markup
from bot.slack.render import Button, Page, SlackMessage
from dev.slack.blocks import ALL_BLOCKS_TEXT, block_problems, text_length

ANY = st.text(max_size=400)
HOSTILE = st.text(alphabet="<>&!@#*_~`|^ :\n\u200b\u202eabcU1", max_size=200)


def accepted(message: SlackMessage) -> None:
    blocks: list[dict[str, Any]] = list(message.blocks)
    assert block_problems(blocks) == []
    assert text_length(blocks) <= ALL_BLOCKS_TEXT
    assert 0 < len(message.text) <= limits.TEXT


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_texts_around_each_limit_are_accepted(more: int) -> None:
    page = Page(rest="The rest is in the thread.")
    page.header("h" * (limits.HEADER + more))
    page.section("s" * (limits.SECTION + more))
    page.small("c" * (limits.CONTEXT + more))
    label = "l" * (limits.BUTTON_TEXT + more)
    page.buttons([Button(label, "a", "r-1", confirm="x" * (limits.CONFIRM_TEXT + more))])
    message = page.message("t" * (limits.TEXT + more))
    accepted(message)
    cut = any("✂️" in str(block) for block in message.blocks)
    assert cut == (more > 0)


@pytest.mark.parametrize("number", [limits.BLOCKS - 2, limits.BLOCKS - 1, limits.BLOCKS, limits.BLOCKS + 1])
def test_too_many_blocks_give_way_but_never_the_buttons(number: int) -> None:
    page = Page(rest="All of it: `/aeterna run r-1`.")
    for one in range(number):
        page.section(f"part {one}")
    page.buttons([Button("Approve", "run_approve", "r-1")])
    message = page.message("many")
    accepted(message)
    assert message.blocks[-1]["type"] == "actions"
    assert ("parts are not shown. All of it" in str(message.blocks[-2])) == (number > limits.BLOCKS - 2)


@given(st.lists(st.tuples(st.sampled_from(["header", "section", "small"]), ANY), max_size=70), ANY)
def test_every_page_is_accepted(parts: list[tuple[str, str]], text: str) -> None:
    page = Page(rest="There.")
    for kind, part in parts:
        getattr(page, kind)(part if kind == "header" else markup.literal(part * 12))
    page.buttons([Button("Go", "a", "r-1", confirm=text or None)])
    accepted(page.message(markup.literal(text)))


@given(HOSTILE)
def test_nothing_in_a_literal_text_acts(text: str) -> None:
    safe = markup.literal(text)
    assert not re.search(r"[<>*~`]", safe)
    assert not re.search(r"&(?!(amp|lt|gt);)", safe)
    assert not re.search(r"(?<!\w)_|_(?!\w)", safe)
    assert not re.search(r"^\s*&gt;", safe, re.MULTILINE)


@given(HOSTILE)
def test_prose_lets_only_people_times_channels_and_code_through(text: str) -> None:
    safe = markup.prose(text)
    for angle in re.findall(r"<[^>]*>?", safe):
        assert re.match(r"<@[UW]|<!date\^|<#C", angle)
    assert safe.count("`") % 2 == 0


@pytest.mark.parametrize("ping", ["<!channel>", "<!here>", "<!everyone>", "<!subteam^S1>", "<http://x|click>"])
def test_nobody_can_call_the_whole_channel_through_the_bot(ping: str) -> None:
    for made in (markup.literal(ping), markup.prose(ping), markup.code(ping), markup.preformatted(ping)):
        assert "<" not in made


def test_prose_keeps_what_the_bot_itself_says() -> None:
    said = "Held by <@U0ALICE> since <!date^1700000000^{time}|10:00 UTC>; set `image.tag` & *wait*"
    assert markup.prose(said) == (
        "Held by <@U0ALICE> since <!date^1700000000^{time}|10:00 UTC>; set `image.tag` &amp; ∗wait∗"
    )


def test_names_with_underscores_stay_as_they_are() -> None:
    assert markup.literal("http_requests_total and _this_") == "http_requests_total and ˍthisˍ"


@given(HOSTILE, st.integers(min_value=1, max_value=80))
def test_a_cut_never_ends_inside_an_entity_or_a_mention(text: str, limit: int) -> None:
    safe = markup.prose(f"<@U0ALICE> {text} `code`")
    short = markup.cut(safe, limit)
    assert len(short) <= limit
    if len(safe) > limit:
        body = short.removesuffix("…")
        assert not re.search(r"&[a-z]*$", body)
        assert body.count("<") == body.count(">")
        assert body.count("`") % 2 == 0


@given(st.text(max_size=3000), st.integers(1, 500), st.integers(1, 20))
def test_a_tail_is_the_end_and_counts_what_stands_before(text: str, characters: int, lines: int) -> None:
    shown, before = markup.tail(text, characters=characters, lines=lines)
    assert len(shown) <= characters
    assert text.rstrip("\n").endswith(shown)
    assert before + shown.count("\n") + 1 == text.rstrip("\n").count("\n") + 1


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.44, "0.4 s"), (9.96, "10 s"), (59.4, "59 s"), (60, "1 min"), (185, "3 min 5 s"), (7800, "2 h 10 min")],
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert markup.duration(timedelta(seconds=seconds)) == said


def test_a_moment_has_a_fallback_for_screen_readers() -> None:
    assert markup.moment(datetime(2026, 1, 2, 3, 4, tzinfo=UTC)) == "<!date^1767323040^{time}|2026-01-02 03:04 UTC>"


def test_a_button_with_a_text_instead_of_an_id_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="an id"):
        Button("x", "a", "v" * 2001).element()
