"""`headway repository push|pull|sync` over a real S3 protocol, and killed at any moment."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from headway_contract.model_repository import ModelRepository
from headway_serving.adapters.files.routes import write_routes
from headway_serving.commands import repository as repository_cli
from headway_serving.core.routing import ModelRoutes, RouteTable
from headway_serving.operations import repository_care as care
from tests.support.contract_examples import publish, write_version
from tests.support.s3_server import BUCKET, s3_server
from tests.support.waiting import eventually

Out = pytest.CaptureFixture[str]
KILLS = int(os.environ.get("HEADWAY_TEST_KILLS", "10"))
"""How often a copy is killed: a few each time, 30 when it is to be proved (``HEADWAY_TEST_KILLS=30``)."""


@pytest.fixture(scope="module")
def s3() -> Iterator[Mapping[str, str]]:
    with s3_server() as environment:
        yield environment


@pytest.fixture
def url(s3: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.fixture
def here(tmp_path: Path) -> ModelRepository:
    made = ModelRepository(tmp_path / "here")
    for content in (b"a", b"b"):
        publish(made, content)
    return made


def run(*arguments: str | Path) -> int:
    return repository_cli.main([*map(str, arguments)])


def test_there_and_back(here: ModelRepository, url: str, tmp_path: Path, capsys: Out) -> None:
    assert run("push", here.root, url) == 0
    assert "copied  letters/1  2 files" in capsys.readouterr().out
    assert run("pull", url, tmp_path / "back", "--only", "letters/2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["copied"]["letters/2"]["files"] == 2
    assert run("verify", "--repository", tmp_path / "back") == 0
    assert ModelRepository(tmp_path / "back").digest("letters", 2) == here.digest("letters", 2)
    assert run("push", here.root, url) == 0
    assert "2 were there already" in capsys.readouterr().out


def test_a_version_that_fails_its_checks_is_named(here: ModelRepository, url: str, tmp_path: Path, capsys: Out) -> None:
    (here.path("letters", 2) / "variables/data").write_bytes(b"x")
    assert run("push", here.root, url) == 1
    assert "FAILED  letters/2" in capsys.readouterr().out
    assert run("push", here.root, url, "--skip-damaged") == 0
    assert run("pull", url, tmp_path / "back") == 0
    assert ModelRepository(tmp_path / "back").versions("letters") == (1,)


def test_deleting_asks_for_its_flag_and_spares_what_is_routed(
    here: ModelRepository, url: str, tmp_path: Path, capsys: Out
) -> None:
    back = ModelRepository(tmp_path / "back")
    assert run("push", here.root, url) == 0
    assert run("sync", url, back.root) == 0
    here.remove("letters", 1)
    assert run("sync", here.root, url) == 0
    assert "deleted" not in capsys.readouterr().out
    assert run("sync", here.root, url, "--delete") == 0
    write_routes(back.root / "routes.json", RouteTable({"letters": ModelRoutes(1)}))
    assert run("sync", url, back.root, "--delete") == 0
    out = capsys.readouterr().out
    assert "deleted letters/1" in out
    assert "keep    letters/1  gone from the source, but routed" in out
    (back.root / "routes.json").unlink()
    assert run("sync", url, back.root, "--delete") == 0
    assert back.versions("letters") == (2,)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["push", "s3://models/x", "here"], "push takes a folder and then a URL"),
        (["pull", "here", "there"], "pull takes a URL and then a folder"),
        (["sync", "here", "here"], "both source and destination"),
        (["push", "here", "s3://no-such-bucket/x"], "not there"),
        (["sync", "empty", "there"], "holds no version"),
    ],
)
def test_what_cannot_be_is_refused(
    arguments: list[str], why: str, here: ModelRepository, url: str, tmp_path: Path, capsys: Out,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert why in capsys.readouterr().err


@pytest.mark.parametrize("bad", [["--only", "../x"], ["--only", "letters/01"], ["--watch", "0"], ["--watch", "x"]])
def test_bad_values_are_usage_errors(bad: list[str], capsys: Out) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("sync", "a", "b", *bad)
    assert "is not" in capsys.readouterr().err


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "headway_client.cli", "repository", *map(str, arguments)]


def test_a_watcher_follows_the_source_and_ends_when_asked(here: ModelRepository, url: str, tmp_path: Path) -> None:
    back = ModelRepository(tmp_path / "back")
    with subprocess.Popen(
        command("sync", url, back.root, "--watch", "1"), stderr=subprocess.PIPE, text=True
    ) as watcher:
        try:
            # Nothing is there yet: it says so once, and stays.
            assert watcher.stderr is not None
            assert "holds no version" in watcher.stderr.readline()
            assert run("push", here.root, url) == 0
            eventually(lambda: back.versions("letters") == (1, 2), "what was pushed is copied")
            watcher.send_signal(signal.SIGTERM)
            assert watcher.wait(30) == 0
        finally:
            watcher.kill()


@pytest.mark.timeout(400 + 60 * KILLS)
def test_killed_at_any_moment_no_copy_leaves_a_version_that_is_damaged(url: str, tmp_path: Path) -> None:
    chance = random.Random(19)
    here = ModelRepository(tmp_path / "here")
    for _ in range(3):
        with here.staging("letters") as staged:
            write_version(staged, chance.randbytes(200_000))
            for part in range(3):
                (staged / "variables" / f"part-{part}").write_bytes(chance.randbytes(50_000))
            here.publish("letters", staged)
    assert run("push", here.root, f"{url}/whole") == 0
    began = time.monotonic()
    assert run("push", here.root, f"{url}/timed") == 0
    longest = (time.monotonic() - began) * 1.5
    halves, whole = 0, 0
    for each in range(KILLS):
        up, back = f"{url}/{each}", tmp_path / f"back-{each}"
        # By turns to the store and from it.
        source, destination = (here.root, up) if each % 2 == 0 else (f"{url}/whole", back)
        _kill(command("sync", source, destination, "--watch", "60"), chance.uniform(0, longest))
        if each % 2 == 0 and run("pull", up, back) == 2:
            continue  # nothing was whole yet
        found = ModelRepository(back)
        checks = [care.check(found, "letters", version) for version in found.versions("letters")]
        assert [check.problem for check in checks if check.problem] == []
        halves += bool(care.half_versions(found)) or 0 < len(checks) < 3
        whole += len(checks)
        # What a killed copy leaves is in nobody's way.
        assert run("sync", source, destination) == 0
        assert each % 2 == 0 or (found.versions("letters") == (1, 2, 3) and not care.half_versions(found))
    # The moments were ones that matter.
    assert halves > 0
    assert whole > 0


def _kill(line: list[str], after: float) -> None:
    """Start a copy and kill it so many seconds after it has begun to talk to the store."""
    starter = (
        "import sys; import s3fs; from headway_serving.adapters.stores import object_store; "
        "from headway_serving.commands import repository; print(flush=True); sys.exit(repository.main(sys.argv[1:]))"
    )
    arguments = line[line.index("repository") + 1 :]
    with subprocess.Popen([sys.executable, "-c", starter, *arguments], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            time.sleep(after)
        finally:
            process.kill()
        assert process.wait(30) == -signal.SIGKILL
