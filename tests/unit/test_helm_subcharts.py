"""Subcharts, packed and unpacked: what is read of them, what is not rendered, and what is refused."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from bot.errors import Permanent
from bot.helm.archive import ChartContents, Limits, expanded, read_archive, wanted
from bot.helm.charts import PulledChart
from bot.helm.subcharts import enabled, within
from runbooks.demands import given_of, refused

META = "apiVersion: v2\nname: {name}\nversion: 1.0.0\n"


def packed(folder: str, files: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            content = text.encode() if isinstance(text, str) else text
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def meta(name: str, more: str = "") -> str:
    return META.format(name=name) + more


COMMON = packed("common", {"Chart.yaml": meta("common", "type: library\n"), "templates/_x.tpl": "{{ .Values.nameOf }}"})
STORE = packed(
    "store",
    {
        "Chart.yaml": meta("store"),
        "values.yaml": "size: 1\ncommon: {deep: 1}\n",
        "values.schema.json": '{"properties": {"size": {"type": "integer", "minimum": 1}}}',
        "templates/s.yaml": '{{ required "a size" .Values.size }} {{ .Values.kind }}',
        "crds/c.yaml": "kind: CustomResourceDefinition\n",
        "charts/common.tgz": COMMON,
    },
)
DEPENDENCIES = """\
dependencies:
  - {name: store, version: 1.0.0, alias: db, condition: "db.enabled,store.enabled"}
  - {name: mail, version: 1.0.0, tags: [outside]}
"""
FILES: dict[str, str | bytes] = {
    "Chart.yaml": meta("top", DEPENDENCIES),
    "values.yaml": "db: {size: 3}\n",
    "templates/t.yaml": "{{ .Values.top }}",
    "charts/store-1.0.0.tgz": STORE,
    "charts/mail/Chart.yaml": meta("mail"),
    "charts/mail/values.yaml": "host: x\n",
    "charts/mail/templates/m.yaml": '{{ required "a host" .Values.from }}{{ randAlphaNum 8 }}',
    "charts/README.md": "no chart",
}


def read(tmp_path: Path, files: dict[str, str | bytes], limits: Limits | None = None) -> ChartContents:
    file = tmp_path / "top.tgz"
    file.write_bytes(packed("top", files))
    return read_archive(file, limits=limits)


def pulled(found: ChartContents) -> PulledChart:
    return PulledChart(Path("x"), "", found.metadata, found.values, found.schema, found.files, found.parts)


def test_packed_and_unpacked_subcharts_are_read_under_the_names_that_their_values_have(tmp_path: Path) -> None:
    parts = read(tmp_path, FILES).parts
    assert sorted(parts.sources) == [
        "charts/db/charts/common/templates/_x.tpl",
        "charts/db/templates/s.yaml",
        "charts/mail/templates/m.yaml",
        "templates/t.yaml",
    ]
    assert list(parts.crds) == ["charts/db/crds/c.yaml"]
    assert [(one.keys, one.name, one.library) for one in parts.subcharts] == [
        (("mail",), "mail", False),
        (("db",), "store", False),
        (("db", "common"), "common", True),
    ]


def test_a_directory_gives_the_same_as_its_archive(tmp_path: Path) -> None:
    files = {path: text if isinstance(text, bytes) else text.encode() for path, text in FILES.items() if wanted(path)}
    assert "charts/README.md" not in files
    unfolded = expanded(files, Limits(), "top")
    assert "charts/store/charts/common/templates/_x.tpl" in unfolded
    assert not [path for path in unfolded if path.endswith(".tgz")]


@pytest.mark.parametrize(
    ("values", "on"),
    [
        ({}, ["mail", "db", "db.common"]),
        ({"db": {"enabled": False}}, ["mail"]),
        ({"db": {"enabled": "no"}, "store": {"enabled": False}}, ["mail"]),
        ({"tags": {"outside": False}}, ["db", "db.common"]),
        ({"tags": {"outside": True, "db": False}}, ["mail", "db", "db.common"]),
    ],
)
def test_conditions_and_tags_turn_subcharts_off_with_all_below_them(
    tmp_path: Path, values: dict[str, Any], on: list[str]
) -> None:
    found = enabled(read(tmp_path, FILES).parts.subcharts, values)
    assert [".".join(one.keys) for one in found] == on
    assert within("charts/db/charts/common/templates/_x.tpl", found) is ("db.common" in on)
    assert within("templates/charts/x.yaml", found)


def test_what_is_off_demands_nothing_and_yet_its_keys_are_known(tmp_path: Path) -> None:
    chart = pulled(read(tmp_path, FILES))
    on, off = given_of(chart, {}), given_of(chart, {"tags": {"outside": False}})
    assert on.templates is not None
    assert off.templates is not None
    assert [".".join(one.path) for one in on.templates.demands] == ["db.size", "mail.from"]
    assert [".".join(one.path) for one in off.templates.demands] == ["db.size"]
    assert (on.templates.drawing, off.templates.drawing) == (frozenset({"charts/mail/templates/m.yaml"}), frozenset())
    assert off.templates.reads(("mail", "from"))
    assert on.templates.reads(("db", "nameOf")), "a library reads the values of the chart around it"
    assert on.defaults == {"db": {"size": 3, "common": {"deep": 1}}, "mail": {"host": "x"}}
    assert off.kept == {"db": {"size": 3, "common": {"deep": 1, "global": {}}, "global": {}}}, "as Helm keeps it"


def test_the_schema_of_a_subchart_is_asked_and_may_not_lead_outside(tmp_path: Path) -> None:
    chart = pulled(read(tmp_path, FILES))
    error = refused(given_of(chart, {"db": {"size": 0}}), "top")
    assert error is not None
    assert [one.path for one in error.fields] == ["db.size"]
    assert refused(given_of(chart, {"db": {"size": 0, "enabled": False}}), "top") is None
    schema = '{"properties": {"host": {"$ref": "http://127.0.0.1:9/x"}}}'
    outside = pulled(read(tmp_path, {**FILES, "charts/mail/values.schema.json": schema}))
    error = refused(given_of(outside, {}), "top")
    assert error is not None
    assert error.message.startswith("The schema of charts/mail refers to http://127.0.0.1:9/x, outside of the chart")


@pytest.mark.parametrize(
    ("subchart", "limits", "said"),
    [
        (b"no archive", Limits(), "charts/x.tgz of top.tgz is not a readable archive"),
        (packed("../x", {"Chart.yaml": meta("x")}), Limits(), "outside of itself"),
        (packed("x", {"Chart.yaml": meta("x"), "big": b"0" * 3_000_000}), Limits(unpacked=2_000_000, entries=9), "unpack"),
        (packed("x", {"Chart.yaml": "- no"}), Limits(), "is a list"),
        (packed("x", {"Chart.yaml": meta("x"), "values.schema.json": "{"}), Limits(), "is not JSON"),
    ],
)  # fmt: skip
def test_a_subchart_is_trusted_no_more_than_its_chart(
    tmp_path: Path, subchart: bytes, limits: Limits, said: str
) -> None:
    with pytest.raises(Permanent, match=said):
        read(tmp_path, {"Chart.yaml": meta("top"), "charts/x.tgz": subchart}, limits)


def test_packed_subcharts_share_one_allowance(tmp_path: Path) -> None:
    big = packed("x", {"Chart.yaml": meta("x"), "files/big": b"0" * 700_000})
    files: dict[str, str | bytes] = {"Chart.yaml": meta("top")}
    assert read(tmp_path, {**files, "charts/a.tgz": big}, Limits(unpacked=1_000_000, entries=50))
    with pytest.raises(Permanent, match="unpacks to"):
        read(tmp_path, {**files, "charts/a.tgz": big, "charts/b.tgz": big}, Limits(unpacked=1_000_000, entries=50))


def test_a_nest_without_end_is_refused(tmp_path: Path) -> None:
    inner = packed("x", {"Chart.yaml": meta("x")})
    for _ in range(9):
        inner = packed("x", {"Chart.yaml": meta("x"), "charts/x.tgz": inner})
    with pytest.raises(Permanent, match="packed more than 8 deep"):
        read(tmp_path, {"Chart.yaml": meta("top"), "charts/x.tgz": inner})


def test_texts_beyond_the_limit_are_named(tmp_path: Path) -> None:
    parts = read(tmp_path, {**FILES, "templates/z.yaml": "z" * 500}, Limits(texts=300)).parts
    assert parts.left_out
    assert "templates/t.yaml" in parts.sources
    assert "templates/z.yaml" in parts.left_out
