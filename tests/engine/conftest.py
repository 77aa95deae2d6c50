"""Every test here runs twice: on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.scripted import World


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of its own for each test."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/journal.sqlite"
    url: str = request.getfixturevalue("postgresql_database")
    return url


@pytest.fixture
def world() -> World:
    return World()
