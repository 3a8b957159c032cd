"""``routes.json`` is read whole, refused with a reason, and followed while the process runs."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway_serving.adapters.route_file import InvalidRoutes, RouteFile, format_routes, parse_routes, write_routes
from headway_serving.core.routing import Candidate, ModelRoutes, RouteTable
from tests.unit.modelserver.waiting import eventually

VERSIONS = st.integers(0, 2**63 - 1)
TABLES = st.builds(
    RouteTable,
    st.dictionaries(
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True),
        st.builds(
            ModelRoutes,
            stable=VERSIONS,
            candidate=st.none() | st.builds(Candidate, VERSIONS, st.floats(0, 1)),
            labels=st.dictionaries(st.text().filter(lambda name: name not in ("stable", "candidate")), VERSIONS),
        ),
        max_size=4,
    ),
)


@settings(deadline=None)
@given(TABLES)
def test_what_is_written_is_read_back(table: RouteTable) -> None:
    assert parse_routes(format_routes(table).encode()) == table


def test_the_documented_form_is_read() -> None:
    text = """{"schema": 1, "models": {"digits-0to4": {"stable": 2, "candidate": {"version": 3, "weight": 0.05},
                                                        "labels": {"canary": 3}}}}"""
    routes = ModelRoutes(stable=2, candidate=Candidate(3, 0.05), labels={"canary": 3})
    assert parse_routes(text) == RouteTable({"digits-0to4": routes})


def model(**entry: Any) -> dict[str, Any]:
    return {"schema": 1, "models": {"digits": {"stable": 1, **entry}}}


def candidate(**entry: Any) -> dict[str, Any]:
    return model(candidate={"version": 2, "weight": 0.5, **entry})


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ([], "the file: an object is needed"),
        ({"schema": 1}, "the file: missing models"),
        ({"schema": 2, "models": {}}, "schema 2 is unknown"),
        ({"schema": 1, "models": []}, "models: an object"),
        ({"schema": 1, "models": {}, "note": 1}, "the file: unknown key note; known: models, schema"),
        ({"schema": 1, "models": {"a/b": {"stable": 1}}}, "models.a/b: 'a/b' cannot be a model's name"),
        ({"schema": 1, "models": {"": {"stable": 1}}}, "models.: '' cannot be a model's name"),
        ({"schema": 1, "models": {"digits": 1}}, "models.digits: an object is needed"),
        ({"schema": 1, "models": {"digits": {}}}, "models.digits: missing stable"),
        (model(weight=0.5), "models.digits: unknown key weight; known: candidate, labels, stable"),
        (model(stable=True), "models.digits.stable: a version number is needed, not True"),
        (model(stable="1"), "models.digits.stable: a version number is needed, not '1'"),
        (model(stable=1.0), "models.digits.stable: a version number is needed, not 1.0"),
        (model(stable=-1), "models.digits.stable: a version number is needed, not -1"),
        (model(stable=2**63), "models.digits.stable: a version number is needed"),
        (model(labels=[]), "models.digits.labels: an object of labels is needed"),
        (model(labels={"canary": False}), "models.digits.labels.canary: a version number is needed, not False"),
        (model(labels={"stable": 1}), "models.digits.labels: stable always means that arm"),
        (model(labels={"candidate": 1}), "models.digits.labels: candidate always means that arm"),
        (model(candidate=3), "models.digits.candidate: an object is needed"),
        (model(candidate={"version": 2}), "models.digits.candidate: missing weight"),
        (candidate(share=1), "models.digits.candidate: unknown key share; known: version, weight"),
        (candidate(version=True), "models.digits.candidate.version: a version number is needed, not True"),
        (candidate(weight=True), "models.digits.candidate.weight: a number from 0 to 1 is needed, not True"),
        (candidate(weight="5%"), "models.digits.candidate.weight: a number from 0 to 1 is needed, not '5%'"),
        (candidate(weight=1.01), "models.digits.candidate.weight: a number from 0 to 1 is needed, not 1.01"),
        (candidate(weight=-0.1), "models.digits.candidate.weight: a number from 0 to 1 is needed, not -0.1"),
        (candidate(weight=float("nan")), "models.digits.candidate.weight: a number from 0 to 1 is needed, not nan"),
    ],
)
def test_a_document_that_cannot_be_used_is_refused_with_the_place(document: Any, where: str) -> None:
    with pytest.raises(InvalidRoutes) as caught:
        parse_routes(json.dumps(document))
    assert where in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe\x00", b"[" * 200_000], ids=["empty", "half", "binary", "deep"])
def test_what_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidRoutes, match="not JSON"):
        parse_routes(text)


@pytest.mark.parametrize("content", [None, "{"], ids=["absent", "broken"])
def test_a_gateway_does_not_start_on_a_file_it_cannot_use(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "routes.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidRoutes, match=r"routes\.json"):
        RouteFile(path, poll_seconds=0.02)


def table(stable: int) -> RouteTable:
    return RouteTable({"digits": ModelRoutes(stable)})


Follow = Callable[[Path], RouteFile]


@pytest.fixture
def follow() -> Iterator[Follow]:
    """Follow files, until the test ends."""
    followed = []

    def follow(path: Path) -> RouteFile:
        file = RouteFile(path, poll_seconds=0.02)
        followed.append(file)
        file.watch()
        return file

    yield follow
    for file in followed:
        file.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "routes.json"
    write_routes(path, table(1))
    return path


def test_an_atomic_replacement_is_followed(path: Path, follow: Follow) -> None:
    file = follow(path)
    assert file.table() == table(1)
    write_routes(path, table(2))
    eventually(lambda: file.table() == table(2), "the new table")


def test_a_rewrite_in_place_is_followed(path: Path, follow: Follow) -> None:
    file = follow(path)
    path.write_text(format_routes(table(20)))
    eventually(lambda: file.table() == table(20), "the new table")
    eventually(lambda: file.problem() is None, "a file caught half written is read again")


def test_a_config_map_is_followed(tmp_path: Path, follow: Follow) -> None:
    """Kubernetes never touches the file: it switches the link ``..data`` from one directory to another."""
    for number in (1, 2):
        (tmp_path / f"..{number}").mkdir()
        write_routes(tmp_path / f"..{number}" / "routes.json", table(number))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "routes.json").symlink_to("..data/routes.json")
    file = follow(tmp_path / "routes.json")
    assert file.table() == table(1)
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    eventually(lambda: file.table() == table(2), "the new table")


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (lambda path: path.write_text('{"schema": 1, "models": {"digits": {}}}'), "models.digits: missing stable"),
        (lambda path: path.write_bytes(b"[" * 200_000), "not JSON"),
        (lambda path: path.unlink(), "cannot be read: No such file"),
    ],
    ids=["refused", "deep", "gone"],
)
def test_a_broken_file_changes_nothing_and_is_reported_until_it_is_mended(
    path: Path, follow: Follow, break_it: Callable[[Path], object], why: str
) -> None:
    file = follow(path)
    break_it(path)
    eventually(lambda: why in (file.problem() or ""), "the problem is told")
    assert file.table() == table(1)
    write_routes(path, table(3))
    eventually(lambda: file.problem() is None, "the problem is over")
    assert file.table() == table(3)
