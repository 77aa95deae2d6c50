"""Release notes of one version behind an address: Markdown, plain text, HTML, or a forge's JSON (``body``).

Bounded in time and size. That there are none (404) is an answer; that they could not be read is an error, never silence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Final
from urllib.parse import quote, urlsplit

import aiohttp

from bot.errors import BotError, Permanent, Temporary

LARGEST: Final = 512 * 1024  # bytes of one page
SECONDS: Final = 10.0  # for one page, with redirects
_REDIRECTS = 3
_SKIPPED = frozenset({"script", "style", "head", "nav", "header", "footer", "template", "svg"})
_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}


class ReleaseNotes:
    """``template`` has ``{version}`` in it; None means that the target has no such address."""

    def __init__(
        self, template: str | None, *, http: aiohttp.ClientSession, seconds: float = SECONDS, largest: int = LARGEST
    ) -> None:
        self.template = template
        self._http = http
        self._timeout = aiohttp.ClientTimeout(total=seconds)
        self._largest = largest

    def address(self, version: str) -> str:
        """Where the notes of a version are."""
        return (self.template or "").replace("{version}", quote(version, safe=""))

    @property
    def host(self) -> str:
        """What a person is told as the source."""
        return urlsplit(self.template or "").hostname or ""

    async def of(self, version: str) -> str | None:
        """The text, or None where there is none. Raises ``Temporary`` or ``Permanent`` when it could not be read."""
        if self.template is None:
            return None
        try:
            async with self._http.get(
                self.address(version),
                timeout=self._timeout,
                max_redirects=_REDIRECTS,
                headers={"Accept": "text/markdown, text/plain, application/json, text/html;q=0.5"},
            ) as response:
                if response.status in (404, 410):
                    return None
                if response.status != 200:
                    raise _unreadable(version, self.host, f"HTTP {response.status}", response.status)
                raw = await response.content.read(self._largest + 1)
                while len(raw) <= self._largest and (more := await response.content.read(self._largest + 1 - len(raw))):
                    raw += more
                if len(raw) > self._largest:
                    raise Permanent(
                        f"The release notes of {version} at {self.host} are larger than {self._largest:,} bytes."
                    )
                return _text(raw.decode(response.get_encoding(), errors="replace"), response.content_type)
        except BotError:
            raise
        except (aiohttp.ClientError, TimeoutError, OSError, LookupError) as error:
            late = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
            raise _unreadable(version, self.host, late, 0) from error


def _unreadable(version: str, host: str, why: str, status: int) -> BotError:
    kind = Temporary if status == 0 or status == 429 or status >= 500 else Permanent
    return kind(
        f"The release notes of {version} could not be read from {host}: {why}.", way_out="Look at them yourself."
    )


def _text(text: str, content_type: str) -> str | None:
    if content_type.endswith("json"):
        try:
            found = json.loads(text)
        except ValueError:
            return text
        body = found.get("body") if isinstance(found, Mapping) else None
        return str(body) if body else None
    if content_type == "text/html":
        page = _Page()
        page.feed(text)
        page.close()
        return "".join(page.said).strip() or None
    return text.strip() or None


class _Page(HTMLParser):
    """The words of a page as Markdown: headings and list items, without scripts and navigation."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.said: list[str] = []
        self._inside = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SKIPPED:
            self._inside += 1
        elif tag in _HEADINGS:
            self.said.append(f"\n\n{_HEADINGS[tag]} ")
        elif tag == "li":
            self.said.append("\n- ")
        elif tag in ("p", "div", "ul", "ol", "section", "article"):
            self.said.append("\n\n")
        elif tag == "br":
            self.said.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _SKIPPED:
            self._inside = max(0, self._inside - 1)
        elif tag in _HEADINGS or tag == "li":
            self.said.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.said.append(" ".join(data.split()) + (" " if data[-1:].isspace() and data.strip() else ""))
