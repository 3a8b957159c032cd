"""Two gateways deal the same keys to the same versions, and a rising weight takes no key back.

HEADWAY_SPLIT_KEYS (1000) is how many keys are asked for at each weight.
"""

import http.client
import json
import math
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from headway_contract.durable_files import write_atomically
from headway_contract.model_repository import ModelRepository
from headway_serving.adapters.files.routes import read_routes, write_routes
from headway_serving.core.routing import Candidate, RouteTable
from tests.e2e.conftest import Trained
from tests.e2e.running import Served, serving
from tests.e2e.test_serving_line import HEAD, copied
from tests.support.waiting import eventually

KEYS = [f"user-{number}" for number in range(int(os.environ.get("HEADWAY_SPLIT_KEYS", "1000")))]


@pytest.fixture(scope="module")
def routes(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(trained, tmp_path_factory.mktemp("split")).root / "routes.json"


@pytest.fixture(scope="module")
def replicas(routes: Path) -> Iterator[list[Served]]:
    """Two gateways that follow one file; the second asks the model server of the first."""
    folder = routes.parent.parent
    with serving(routes.parent, folder / "first.log") as first:
        target = f"127.0.0.1:{first.grpc_port}"
        load_second_version(ModelRepository(routes.parent))
        with serving(routes.parent, folder / "second.log", "--model-server", target) as second:
            yield [first, second]


def load_second_version(repository: ModelRepository) -> None:
    """Publish the head once more and name it to the model server; the routes wait until it is loaded."""
    with repository.staging(HEAD) as staged:
        shutil.copytree(repository.path(HEAD, 1), staged, dirs_exist_ok=True)
        assert repository.publish(HEAD, staged) == 2
    config = repository.root / "models.config"
    config.write_text(config.read_text().replace("versions: 1", "versions: 1 versions: 2", 1))


def candidates_keys(replica: Served) -> set[str]:
    """The keys that a gateway gives to the candidate."""
    met = set()
    with closing(http.client.HTTPConnection(urlsplit(replica.url).netloc, timeout=60)) as connection:
        for key in KEYS:
            connection.request("GET", f"/v1/models/{HEAD}/route?key={key}")
            told = json.loads(connection.getresponse().read())
            assert told["reason"] == "weight"
            if told["arm"] == "candidate":
                met.add(key)
    return met


def candidate_at(replica: Served) -> object:
    return httpx.get(f"{replica.url}/v1/models/{HEAD}/route?key=anyone").json()["candidate"]


def routes_at(replica: Served) -> dict[str, Any]:
    return dict(httpx.get(f"{replica.url}/readyz?verbose").json()["routes"])


def test_every_replica_deals_the_keys_alike_and_none_is_taken_back(routes: Path, replicas: list[Served]) -> None:
    models = read_routes(routes).models
    met: set[str] = set()
    for weight in (0.05, 0.25, 0.5):
        split = replace(models[HEAD], candidate=Candidate(2, weight), salt="2-1760000000")
        write_routes(routes, RouteTable({**models, HEAD: split}))
        expected = {"version": 2, "weight": weight}
        eventually(lambda: all(candidate_at(each) == expected for each in replicas), f"{weight} is followed")  # noqa: B023
        with ThreadPoolExecutor() as pool:
            first, second = pool.map(candidates_keys, replicas)
        assert first == second
        assert met <= first, "raising the weight only moves keys from stable to candidate"
        # 4.5 standard deviations of a binomial count: one honest hash in 150,000 would fail.
        assert abs(len(first) - weight * len(KEYS)) <= 4.5 * math.sqrt(weight * (1 - weight) * len(KEYS))
        met = first


def test_a_broken_file_changes_nothing_on_any_replica_and_each_says_so(routes: Path, replicas: list[Served]) -> None:
    before = [candidate_at(each) for each in replicas]
    good = routes.read_bytes()
    routes.write_text('{"schema": 2, "models": {"digits": {"stabel": 2}}}')
    for replica, candidate in zip(replicas, before, strict=True):
        eventually(lambda: not routes_at(replica)["valid"], "the file is refused")  # noqa: B023
        assert "models.digits: missing stable" in routes_at(replica)["problem"]
        assert "headway_routes_valid 0.0" in httpx.get(f"{replica.url}/metrics").text
        assert candidate_at(replica) == candidate
    write_atomically(routes, good)
    eventually(lambda: all(routes_at(each)["valid"] for each in replicas), "it is mended")
