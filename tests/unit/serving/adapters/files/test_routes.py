"""``routes.json`` is read whole, refused with a reason, and followed while the process runs."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from headway_serving.adapters.files.routes import (
    InvalidRoutes,
    RouteFile,
    UnverifiedVersion,
    change_model,
    format_routes,
    parse_routes,
    write_routes,
)
from headway_serving.adapters.files.watched_file import WatchedFile
from headway_serving.core.rollout_state import (
    HistoryEntry,
    RolloutPolicy,
    RolloutState,
    RolloutStatus,
    Shadow,
    Verification,
)
from headway_serving.core.rollout_traffic import ArmTraffic, KeySample
from headway_serving.core.routing import Candidate, ModelRoutes, RouteTable
from tests.support.waiting import eventually

SCHEMA = Draft202012Validator(json.loads((Path(__file__).parents[5] / "docs" / "routes.schema.json").read_text()))
VERSIONS = st.integers(0, 2**63 - 1)
SHARES = st.floats(0, 1)
AMOUNTS = st.floats(0, 1e12)
TEXTS = st.text(max_size=20)
SAMPLES = st.sampled_from(
    [KeySample(), KeySample(9.0, 1.0, {0: 3.0, 320: 5.0}, {60: 8.0}, {"three": 8.0}, {19: 8.0}, 7.0, 1.0)]
)
ROLLOUTS = st.builds(
    lambda candidate, compared, **fields: RolloutState(
        candidate,
        candidate + 1,
        verification=Verification(candidate, "sha256:0", "2026-01-02T03:04:05Z", 8, compared, compared // 3),
        **fields,
    ),
    candidate=st.integers(0, 2**62),
    compared=st.integers(0, 1000),
    status=st.sampled_from(RolloutStatus),
    policy=st.builds(RolloutPolicy, shadow_share=SHARES, min_samples=st.integers(1, 10**9)),
    stage=st.integers(0, 3),
    since=AMOUNTS,
    looks=st.integers(0, 10**6),
    window=st.integers(0, 10**6),
    reference=st.none() | st.builds(ArmTraffic, AMOUNTS, AMOUNTS, AMOUNTS, SAMPLES),
    reason=TEXTS,
)
TABLES = st.builds(
    RouteTable,
    st.dictionaries(
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True),
        st.builds(
            ModelRoutes,
            stable=VERSIONS,
            candidate=st.none() | st.builds(Candidate, VERSIONS, st.floats(0, 1)),
            labels=st.dictionaries(st.text().filter(lambda name: name not in ("stable", "candidate")), VERSIONS),
            shadow=st.none() | st.builds(Shadow, VERSIONS, SHARES),
            salt=TEXTS,
            rollout=st.none() | ROLLOUTS,
            history=st.lists(st.builds(HistoryEntry, TEXTS, TEXTS, TEXTS, TEXTS), max_size=3).map(tuple),
        ),
        max_size=4,
    ),
)


@settings(deadline=None)
@given(TABLES)
def test_what_is_written_is_read_back(table: RouteTable) -> None:
    written = format_routes(table)
    assert parse_routes(written.encode()) == table
    SCHEMA.validate(json.loads(written))


def test_the_documented_form_is_read() -> None:
    """In the first schema too: files that were written before rollouts were are still read."""
    text = """{"schema": 1, "models": {"digits-0to4": {"stable": 2, "candidate": {"version": 3, "weight": 0.05},
                                                        "labels": {"canary": 3}}}}"""
    routes = ModelRoutes(stable=2, candidate=Candidate(3, 0.05), labels={"canary": 3})
    for schema in (1, 2):
        document = {**json.loads(text), "schema": schema}
        SCHEMA.validate(document)
        assert parse_routes(json.dumps(document)) == RouteTable({"digits-0to4": routes})


def test_a_rollout_of_an_earlier_release_is_continued() -> None:
    """Its limit of latency had another name, and what it kept of stable's latency is too coarse to compare with."""
    latency = {"edges": [0.01], "counts": [3.0, 4.0]}
    document = rollout(policy={"max_p99_ratio": 2.0}, reference={"requests": 9.0, "errors": 1.0, "latency": latency})
    state = parse_routes(json.dumps(document)).models["digits"].rollout
    assert state is not None
    assert (state.policy.max_latency_ratio, state.reference) == (2.0, ArmTraffic(9.0, 1.0))


def model(**entry: Any) -> dict[str, Any]:
    return {"schema": 1, "models": {"digits": {"stable": 1, **entry}}}


def candidate(**entry: Any) -> dict[str, Any]:
    return model(candidate={"version": 2, "weight": 0.5, **entry})


def now(**entry: Any) -> dict[str, Any]:
    return {**model(**entry), "schema": 2}


VERIFICATION = {"version": 2, "digest": "sha256:0", "at": "2026-01-02T03:04:05Z", "golden_samples": 8}


def rollout(**changes: Any) -> dict[str, Any]:
    state = {"candidate": 2, "previous": 1, "status": "running", "verification": VERIFICATION, "policy": {}}
    return now(rollout={**state, **changes})


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ([], "the file: an object is needed"),
        ({"schema": 1}, "the file: missing models"),
        ({"schema": 3, "models": {}}, "schema 3 is unknown"),
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
        (model(shadow=None), "models.digits: unknown key shadow; known: candidate, labels, stable"),
        (now(shadow=3), "models.digits.shadow: an object is needed"),
        (now(shadow={"version": 3}), "models.digits.shadow: missing share"),
        (now(shadow={"version": 3, "share": 2}), "models.digits.shadow.share: a number from 0 to 1 is needed, not 2"),
        (now(salt=1), "models.digits.salt: a text of at most 128 characters"),
        (now(salt="x" * 129), "models.digits.salt: a text of at most 128 characters"),
        (now(history={}), "models.digits.history: a list of at most 50 entries"),
        (now(history=[{"at": "", "by": "", "what": ""}]), "models.digits.history[0]: missing why"),
        (now(history=[dict.fromkeys(("at", "by", "what", "why"), "")] * 51), "models.digits.history: a list of at"),
        (now(rollout={}), "models.digits.rollout: missing candidate, policy, previous, status, verification"),
        (rollout(step=1), "models.digits.rollout: unknown key step; known:"),
        (rollout(status="lost"), "models.digits.rollout.status: one of running, paused, held, promoted, rolled_back"),
        (rollout(status=[]), "models.digits.rollout.status: one of running"),
        (rollout(looks=-1), "models.digits.rollout.looks: a whole number of 0 or more is needed, not -1"),
        (rollout(since="now"), "models.digits.rollout.since: a number is needed, not 'now'"),
        (rollout(since=float("inf")), "models.digits.rollout.since: a number is needed, not inf"),
        (rollout(policy={"step": 1}), "models.digits.rollout.policy: unknown key step"),
        (rollout(policy={"steps": 5}), "models.digits.rollout.policy.steps: a list of numbers"),
        (rollout(policy={"steps": []}), "models.digits.rollout.policy.steps: rising weights above 0, up to 1"),
        (rollout(policy={"min_samples": 0}), "models.digits.rollout.policy.min_samples: 1 or more"),
        (rollout(policy={"false_alarm": 0}), "models.digits.rollout.policy.false_alarm: more than 0"),
        (rollout(policy={"max_latency_ratio": 0.9}), "models.digits.rollout.policy.max_latency_ratio: 1 or more"),
        (rollout(policy={"keep_when_held": 1}), "models.digits.rollout.policy.keep_when_held: true or false is needed"),
        (rollout(reference={"sample": {"labels": [1]}}), "sample.labels: an object of counts is needed"),
        (rollout(verification={}), "models.digits.rollout.verification: missing at, digest, golden_samples, version"),
        (rollout(verification={**VERIFICATION, "compared": -1}), "verification.compared: a whole number of 0 or more"),
        (rollout(verification={**VERIFICATION, "disagreed": 0.5}), "verification.disagreed: a whole number"),
    ],
)
def test_a_document_that_cannot_be_used_is_refused_with_the_place(document: Any, where: str) -> None:
    with pytest.raises(InvalidRoutes) as caught:
        parse_routes(json.dumps(document))
    assert where in str(caught.value)
    # To a JSON schema 1.0 is a whole number; NaN and infinity are in Python's JSON alone.
    if not where.endswith(("1.0", "nan", "inf")):
        assert not SCHEMA.is_valid(document)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"verification": {**VERIFICATION, "compared": 3, "disagreed": 4}},
            "models.digits.rollout.verification.disagreed: 0 to compared",
        ),
        ({"stage": 4}, "models.digits.rollout.stage: a place in the policy's stages"),
        ({"candidate": 1}, "models.digits.rollout.candidate and previous must be two versions"),
        ({"previous": 7, "candidate": 3}, "models.digits.rollout.verification: of another version than the candidate"),
        ({"policy": {"steps": [0.5, 0.25]}}, "models.digits.rollout.policy.steps: rising weights above 0, up to 1"),
        ({"reference": {"sample": {"scores": {"20": 1}}}}, "reference.sample.scores: numbers from 0 to 19 are needed"),
        ({"reference": {"sample": {"work": {"x": 1}}}}, "reference.sample.work: numbers from 0 to 320 are needed"),
    ],
)
def test_what_a_schema_cannot_say_is_refused_too(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidRoutes) as caught:
        parse_routes(json.dumps(rollout(**changes)))
    assert why in str(caught.value)


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


def replace_by_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_a_link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (lambda path: path.write_text('{"schema": 1, "models": {"digits": {}}}'), "models.digits: missing stable"),
        (lambda path: path.write_bytes(b"[" * 200_000), "not JSON"),
        (lambda path: path.unlink(), "cannot be read: No such file"),
        (replace_by_a_pipe, "cannot be read: not a regular file"),
        (lambda path: replace_by_a_link(path, "/dev/zero"), "cannot be read: not a regular file"),
        (lambda path: replace_by_a_link(path, "/"), "cannot be read: Is a directory"),
    ],
    ids=["refused", "deep", "gone", "pipe", "endless", "folder"],
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


def test_a_file_that_could_not_be_read_is_tried_again_although_it_looks_the_same(path: Path) -> None:
    """A right to read it that comes back, or a disk that answers again, changes neither its time nor its size."""
    broken = threading.Event()

    def read(place: Path) -> RouteTable:
        if broken.is_set():
            raise InvalidRoutes("no right to read it")
        return parse_routes(place.read_bytes())

    file = WatchedFile(path, 0.02, read=read, refusal=InvalidRoutes, what="routes")
    file.watch()
    broken.set()
    write_routes(path, table(2))
    eventually(lambda: file.problem() is not None, "the problem is told")
    broken.clear()
    eventually(lambda: file.content() == table(2), "the new table")
    file.close()


def test_nothing_that_goes_wrong_ends_the_following(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fail = True

    def read(place: Path) -> RouteTable:
        if fail:
            raise MemoryError
        return parse_routes(place.read_bytes())

    def take(_: RouteTable) -> None:
        raise ZeroDivisionError

    fail = False
    file = WatchedFile(path, 0.02, read=read, refusal=InvalidRoutes, what="routes")
    file.follow(take)
    taken: list[RouteTable] = []
    file.follow(taken.append)
    file.watch()
    fail = True
    write_routes(path, table(2))
    eventually(lambda: "MemoryError" in (file.problem() or ""), "the problem is told")
    assert file.content() == table(1)
    fail = False
    eventually(lambda: taken == [table(2)], "the second follower has the new table")
    assert "could not be taken up" in caplog.text
    write_routes(path, table(3))
    eventually(lambda: taken == [table(2), table(3)], "the file is still followed")
    file.close()


def candidate_of(version: int, admitted: int | None = None) -> ModelRoutes:
    """Routes with a candidate at half of the traffic, and the rollout of an admitted version."""
    rollout = None
    if admitted is not None:
        proof = Verification(admitted, "sha256:0", "2026-01-02T03:04:05Z", 8)
        rollout = RolloutState(admitted, 1, RolloutStatus.RUNNING, proof, RolloutPolicy())
    return ModelRoutes(1, Candidate(version, 0.5), rollout=rollout)


@pytest.mark.parametrize(
    "after",
    [
        candidate_of(2),
        candidate_of(2, admitted=3),
        ModelRoutes(1, shadow=Shadow(2, 0.1)),
        ModelRoutes(2),
    ],
    ids=["candidate", "candidate beside another's proof", "shadow", "stable"],
)
def test_a_version_without_verification_gets_no_traffic_by_a_change(path: Path, after: ModelRoutes) -> None:
    before = path.read_bytes()
    with pytest.raises(UnverifiedVersion, match="version 2 was not verified"):
        change_model(path, "digits", lambda _: after)
    assert path.read_bytes() == before


def test_a_verified_candidate_gets_traffic_and_the_other_models_stay(path: Path) -> None:
    write_routes(path, RouteTable({"digits": ModelRoutes(1), "letters": ModelRoutes(5)}))
    after = candidate_of(2, admitted=2)
    assert change_model(path, "digits", lambda _: after) == after
    assert parse_routes(path.read_bytes()).models == {"digits": after, "letters": ModelRoutes(5)}


def test_changes_of_several_commands_at_once_are_all_kept(path: Path) -> None:
    """Each reads and writes the whole file: without a lock they would overwrite one another."""

    def add(label: str) -> None:
        change_model(path, "digits", lambda routes: replace(routes, labels={**routes.labels, label: 1}))

    threads = [threading.Thread(target=add, args=(f"label-{number}",)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(parse_routes(path.read_bytes()).of("digits").labels) == 20
