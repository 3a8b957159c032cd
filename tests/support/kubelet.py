"""Mounts ConfigMaps as the kubelet does: a folder whose files are links into another, which is switched at once."""

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.kubernetes_api import KubernetesApi
from tests.support.threads import Repeating


class Kubelet(Repeating):
    """Brings each of ``maps`` to ``folder/NAME`` every ``seconds``, for as long as the API answers."""

    def __init__(self, api: KubernetesApi, namespace: str, maps: Sequence[str], folder: Path, seconds: float) -> None:
        super().__init__(1)
        self._api, self._namespace, self._maps = api, namespace, maps
        self._folder, self._seconds, self._switches = folder, seconds, 0
        self._refresh()

    def run(self, _: int, /) -> None:
        while not self.stopping.wait(self._seconds):
            if not self._api.away():
                self._refresh()

    def _refresh(self) -> None:
        for name in self._maps:
            data: dict[str, str] = self._api.held(self._namespace, name)["data"]
            mount = self._folder / name
            mount.mkdir(exist_ok=True)
            there = {path.name: path.read_text() for path in mount.iterdir() if not path.name.startswith("..")}
            if there != data:
                self._switch(mount, data)

    def _switch(self, mount: Path, data: dict[str, str]) -> None:
        self._switches += 1
        fresh = mount / f"..{time.time_ns()}-{self._switches}"
        fresh.mkdir()
        for name, text in data.items():
            (fresh / name).write_text(text)
        before = mount / "..data"
        old = before.resolve() if before.is_symlink() else None
        (mount / "..data_tmp").symlink_to(fresh.name)
        os.replace(mount / "..data_tmp", before)  # noqa: PTH105  # of a link, not of what it points to
        for name in data:
            if not (mount / name).is_symlink():
                (mount / name).symlink_to(f"..data/{name}")
        if old is not None:
            shutil.rmtree(old)
