"""The chart repository over HTTP and its bad days."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from dev.charts import ChartRepository, Edit


async def get(url: str) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.read()


async def entries(repository: ChartRepository) -> dict[str, Any]:
    _, body = await get(f"{repository.url}/index.yaml")
    return {entry["version"]: entry for entry in yaml.safe_load(body)["entries"]["aeterna"]}


async def test_what_the_index_promises_is_what_is_served() -> None:
    async with ChartRepository.running(versions=["0.2.0", "0.2.1"]) as repository:
        index = await entries(repository)
        assert set(index) == {"0.2.0", "0.2.1"}
        for entry in index.values():
            status, archive = await get(f"{repository.url}/{entry['urls'][0]}")
            assert status == 200
            assert hashlib.sha256(archive).hexdigest() == entry["digest"]
        assert repository.requests[0] == "/index.yaml"


async def test_offline_refuses_connections_and_online_comes_back_on_the_same_port() -> None:
    async with ChartRepository.running(versions=["0.2.1"]) as repository:
        url = repository.url
        await repository.offline()
        with pytest.raises(aiohttp.ClientConnectorError):
            await get(f"{url}/index.yaml")
        await repository.online()
        assert repository.url == url
        assert (await get(f"{url}/index.yaml"))[0] == 200


async def test_failing_answers_with_the_status_that_was_asked_for() -> None:
    async with ChartRepository.running(versions=["0.2.1"]) as repository:
        repository.failing()
        assert (await get(f"{repository.url}/index.yaml"))[0] == 503


async def test_a_version_added_at_run_time_is_in_the_index() -> None:
    async with ChartRepository.running(versions=["0.2.1"]) as repository:
        repository.add("0.2.99", edits=[Edit("values.yaml", "maxReplicas: 6", "maxReplicas: 8")])
        assert (await entries(repository))["0.2.99"]["appVersion"] == "0.2.99"
        repository.remove("0.2.99")
        assert "0.2.99" not in await entries(repository)


async def test_a_version_published_anew_has_another_digest() -> None:
    async with ChartRepository.running(versions=["0.2.1"]) as repository:
        before = repository.digest("0.2.1")
        repository.add("0.2.1", base="0.2.1", edits=[Edit("values.yaml", "maxReplicas: 6", "maxReplicas: 8")])
        assert (await entries(repository))["0.2.1"]["digest"] == repository.digest("0.2.1") != before


async def test_a_corrupt_archive_does_not_match_its_digest() -> None:
    async with ChartRepository.running(versions=["0.2.1"]) as repository:
        repository.corrupt("0.2.1")
        _, archive = await get(f"{repository.url}/aeterna-0.2.1.tgz")
        assert hashlib.sha256(archive).hexdigest() != repository.digest("0.2.1")


async def test_a_corrupt_index_is_not_yaml() -> None:
    async with ChartRepository.running(versions=["0.2.1"]) as repository:
        repository.corrupt()
        _, body = await get(f"{repository.url}/index.yaml")
        with pytest.raises(yaml.YAMLError):
            yaml.safe_load(body)


async def test_what_it_does_not_have_is_not_found() -> None:
    async with ChartRepository.running(versions=["0.2.1"]) as repository:
        assert (await get(f"{repository.url}/aeterna-7.7.7.tgz"))[0] == 404
        assert (await get(f"{repository.url}/other-0.2.1.tgz"))[0] == 404


async def test_archives_can_be_written_to_a_directory_too(tmp_path: Path) -> None:
    async with ChartRepository.running(tmp_path / "charts", versions=["0.2.1"]):
        assert {path.name for path in (tmp_path / "charts").iterdir()} == {"aeterna-0.2.1.tgz", "index.yaml"}


def test_the_process_says_where_it_is_and_ends_on_sigterm() -> None:
    command = [sys.executable, "-m", "dev.charts", "--good-only", "--also", "0.2.2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    assert told["url"].startswith("http://127.0.0.1:")
    assert told["versions"] == ["0.1.0", "0.2.0", "0.2.1", "0.3.0", "0.2.2"]
