"""The server under test, its models, and a way to start more of them with other flags."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.modelserver import tiny_models
from tests.integration.modelserver.conformance.server_under_test import Program, ServerUnderTest, programs
from tests.integration.modelserver.repository_files import HALF, config_list, copy_tree

StartServer = Callable[..., ServerUnderTest]


@pytest.fixture(scope="session", params=programs(), ids=str)
def program(request: pytest.FixtureRequest) -> Program:
    """Each kind of server there is to test."""
    return request.param


@pytest.fixture
def start(program: Program) -> Iterator[StartServer]:
    """Start servers of this kind with the given flags; they are ended after the test."""
    started: list[ServerUnderTest] = []

    def begin(*flags: str) -> ServerUnderTest:
        started.append(ServerUnderTest(program, *flags))
        return started[-1]

    yield begin
    for server in started:
        server.close()


@pytest.fixture(scope="session")
def conformance_repository(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base paths: half (versions 1, 2), picture, defaults, spin, values (dtypes); examples and shared classify."""
    root = tmp_path_factory.mktemp("conformance")
    for model in ("half", "picture", "defaults"):
        (root / model).symlink_to(repository / model)
    for model, save in {
        "examples": tiny_models.save_examples,
        "shared": tiny_models.save_shared_input,
        "values": tiny_models.save_values,
        "spin": tiny_models.save_spin,
    }.items():
        (root / model).mkdir()
        save(root / model / "1")
    return root


@pytest.fixture(scope="session")
def conformance_config(conformance_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models.config of all of them. Metrics need a further flag; see `monitoring_config`."""
    path = tmp_path_factory.mktemp("config") / "models.config"
    path.write_text(
        config_list(conformance_repository, HALF, "picture", "defaults", "examples", "shared", "values", "spin"),
    )
    return path


@pytest.fixture(scope="session")
def monitoring_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("monitoring") / "monitoring.config"
    path.write_text('prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }')
    return path


@pytest.fixture(scope="session")
def server(program: Program, conformance_config: Path, monitoring_config: Path) -> Iterator[ServerUnderTest]:
    """One ready server of each kind that serves all models of the conformance repository, with metrics."""
    flags = [f"--model_config_file={conformance_config}", f"--monitoring_config_file={monitoring_config}"]
    with ServerUnderTest(program, *flags, "--max_num_load_retries=0") as running:
        yield running.wait_until_ready()


@pytest.fixture
def publish(saved_models: Path, tmp_path: Path) -> Callable[[str, str, int], Path]:
    """Publish a copy of a saved model as a version below a base path of the test's own; returns its directory.

    `publish("half_plus_1", "m", 7)` makes `<tmp_path>/m/7`.
    """

    def copy(source: str, model: str, version: int) -> Path:
        (tmp_path / model).mkdir(exist_ok=True)
        copy_tree(saved_models / source, tmp_path / model / str(version))
        return tmp_path / model / str(version)

    return copy
