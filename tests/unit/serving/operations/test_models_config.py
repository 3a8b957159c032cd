"""``models.config`` is TensorFlow Serving's own format, whatever the repository's path is."""

import os
import threading
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from headway_contract.errors import ModelMissing, VersionMissing
from headway_contract.model_manifest import BaseReference
from headway_contract.model_repository import MANIFEST_FILE, ModelRepository
from headway_serving.core.routing import Candidate, ModelRoutes, RouteTable
from headway_serving.operations.models_config import (
    MARK,
    ForeignConfiguration,
    bring_up_to_date,
    format_models_config,
    is_marked,
    load_also,
    loaded_versions,
    unload,
    write_models_config,
)
from tests.support.contract_examples import manifest


def repository(root: Path) -> ModelRepository:
    """Models ``digits`` (1 to 4) and ``letters`` (1)."""
    for version in ("digits/1", "digits/2", "digits/3", "digits/4", "letters/1"):
        (root / version).mkdir(parents=True)
    return ModelRepository(root)


def parsed(text: str) -> dict[str, tuple[str, str, list[int]]]:
    """What TensorFlow Serving reads: for each model its base path, platform and versions."""
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    return {
        entry.name: (entry.base_path, entry.model_platform, list(entry.model_version_policy.specific.versions))
        for entry in config.model_config_list.config
    }


def test_exactly_the_versions_that_can_get_traffic_are_loaded(tmp_path: Path) -> None:
    digits = ModelRoutes(stable=2, candidate=Candidate(4, 0.0), labels={"old": 1, "same": 2})
    table = RouteTable({"letters": ModelRoutes(stable=1), "digits": digits})
    assert parsed(format_models_config(repository(tmp_path), table)) == {
        "digits": (str(tmp_path / "digits"), "tensorflow", [1, 2, 4]),
        "letters": (str(tmp_path / "letters"), "tensorflow", [1]),
    }


@pytest.mark.parametrize(
    "folder", ["it's", 'a "quoted" name', "back\\slash \\n", "Übung 数字 🦔", "two\nlines", "tab\t"]
)
def test_every_path_is_read_as_it_was_written(tmp_path: Path, folder: str) -> None:
    root = tmp_path / folder
    text = format_models_config(repository(root), RouteTable({"digits": ModelRoutes(1)}))
    assert parsed(text)["digits"][0] == str(root / "digits")


def test_no_model_is_an_empty_list(tmp_path: Path) -> None:
    text = format_models_config(ModelRepository(tmp_path), RouteTable({}))
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    assert config.WhichOneof("config") == "model_config_list"
    assert parsed(text) == {}


@pytest.mark.parametrize(
    ("table", "error"),
    [
        (RouteTable({"digits": ModelRoutes(9)}), VersionMissing),
        (RouteTable({"digits": ModelRoutes(1, candidate=Candidate(9, 0.5))}), VersionMissing),
        (RouteTable({"digits": ModelRoutes(1, labels={"next": 9})}), VersionMissing),
        (RouteTable({"faces": ModelRoutes(1)}), ModelMissing),
    ],
)
def test_what_is_not_in_the_repository_is_refused_and_the_old_file_stays(
    tmp_path: Path, table: RouteTable, error: type[Exception]
) -> None:
    path = tmp_path / "models.config"
    path.write_text("old")
    with pytest.raises(error):
        write_models_config(path, repository(tmp_path / "models"), table)
    assert path.read_text() == "old"


def test_the_file_is_written(tmp_path: Path) -> None:
    models = repository(tmp_path / "models")
    table = RouteTable({"digits": ModelRoutes(3)})
    write_models_config(tmp_path / "models.config", models, table)
    assert (tmp_path / "models.config").read_text(encoding="utf-8") == format_models_config(models, table)


def test_a_version_is_loaded_beside_what_is_loaded_and_unloaded_again(tmp_path: Path) -> None:
    path, models = tmp_path / "models.config", repository(tmp_path / 'a "quoted" root')
    table = RouteTable({"digits": ModelRoutes(1, labels={"old": 2}), "letters": ModelRoutes(1)})
    write_models_config(path, models, table)
    before = path.read_text()
    load_also(path, models, "digits", 4)
    assert parsed(path.read_text())["digits"] == (str(models.root / "digits"), "tensorflow", [1, 2, 4])
    assert loaded_versions(path) == {"digits": (1, 2, 4), "letters": (1,)}
    unload(path, models, table, "digits", 4)
    assert path.read_text() == before
    unload(path, models, table, "digits", 1)
    assert path.read_text() == before, "what is routed stays"


def test_versions_that_several_commands_load_at_once_are_all_loaded(tmp_path: Path) -> None:
    """Rollouts of two models may begin at the same moment, and each reads and writes the whole file."""
    path, models = tmp_path / "models.config", ModelRepository(tmp_path / "models")
    for number in range(20):
        (models.root / f"model-{number}" / "1").mkdir(parents=True)
    threads = [threading.Thread(target=load_also, args=(path, models, name, 1)) for name in models.models()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded_versions(path) == dict.fromkeys(models.models(), (1,))


def test_a_head_without_its_base_is_loaded_and_unloaded_with_that_base(tmp_path: Path) -> None:
    """``letters`` 1 brings its own copy of the base, 2 and 3 stand on ``digits`` 2 and 3."""
    path, models = tmp_path / "models.config", repository(tmp_path / "models")
    for version, form, base in ((1, "standalone", 1), (2, "on_base", 2), (3, "on_base", 3)):
        file = models.root / "letters" / str(version) / MANIFEST_FILE
        file.parent.mkdir(parents=True)
        file.write_text(manifest(form=form, base=BaseReference("digits", base, "sha256:22")).to_json())
    table = RouteTable({"letters": ModelRoutes(2)})
    write_models_config(path, models, RouteTable({"letters": ModelRoutes(1)}))
    assert loaded_versions(path) == {"letters": (1,)}
    load_also(path, models, "letters", 2)
    load_also(path, models, "letters", 3)
    assert loaded_versions(path) == {"digits": (2, 3), "letters": (1, 2, 3)}
    unload(path, models, table, "letters", 3)
    assert loaded_versions(path) == {"digits": (2,), "letters": (1, 2)}
    unload(path, models, table, "letters", 1)
    assert loaded_versions(path) == {"digits": (2,), "letters": (2,)}
    unload(path, models, RouteTable({"letters": ModelRoutes(1)}), "letters", 2)
    assert loaded_versions(path) == {}


def test_a_head_whose_base_is_gone_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    path, models = tmp_path / "models.config", repository(tmp_path / "models")
    file = models.root / "letters" / "1" / MANIFEST_FILE
    file.parent.mkdir(parents=True)
    file.write_text(manifest(form="on_base", base=BaseReference("digits", 9, "sha256:22")).to_json())
    load_also(path, models, "digits", 1)
    before = path.read_text()
    with pytest.raises(VersionMissing, match="9"):
        load_also(path, models, "letters", 1)
    assert path.read_text() == before


def test_a_file_that_is_not_there_is_begun(tmp_path: Path) -> None:
    load_also(tmp_path / "models.config", repository(tmp_path / "models"), "letters", 1)
    assert loaded_versions(tmp_path / "models.config") == {"letters": (1,)}


def test_what_a_person_added_in_the_same_form_stays(tmp_path: Path) -> None:
    """Another place of the files, as in a container, and one more model."""
    path = tmp_path / "models.config"
    policy = "model_version_policy{specific{versions:7}}"
    entry = 'config{name:"{}" base_path:"/models/{}" model_platform:"tensorflow" ' + policy + "}"
    path.write_text("model_config_list {" + "".join(entry.replace("{}", name, 2) for name in ("digits", "faces")) + "}")
    load_also(path, repository(tmp_path / "models"), "digits", 4)
    assert parsed(path.read_text()) == {
        "digits": ("/models/digits", "tensorflow", [4, 7]),
        "faces": ("/models/faces", "tensorflow", [7]),
    }


@pytest.mark.parametrize(
    "text",
    [
        'model_config_list { config { name: "digits" base_path: "/m" model_platform: "tensorflow" } }',
        "custom_model_config {}",
        "# why\nmodel_config_list {}",
    ],
)
def test_a_file_that_says_more_is_refused_and_stays(tmp_path: Path, text: str) -> None:
    path = tmp_path / "models.config"
    path.write_text(text)
    with pytest.raises(ForeignConfiguration, match="--models-config none"):
        load_also(path, repository(tmp_path / "models"), "digits", 4)
    assert path.read_text() == text


def test_a_repository_that_has_moved_gets_its_new_paths(tmp_path: Path) -> None:
    """And what is gone from it is no longer loaded, what was loaded beside the routed versions still is."""
    before, config = repository(tmp_path / "before"), tmp_path / "models.config"
    table = RouteTable({"digits": ModelRoutes(2, labels={"gone": 4}), "letters": ModelRoutes(1)})
    write_models_config(config, before, table)
    load_also(config, before, "digits", 1)
    moved = ModelRepository(before.root.rename(tmp_path / "after"))
    (moved.root / "digits" / "4").rmdir()
    (moved.root / "letters" / "1").rename(moved.root / "letters" / "2")
    remarks = bring_up_to_date(config, moved, RouteTable({**table.models, "letters": ModelRoutes(2)}))
    assert config.read_text().startswith(MARK)
    assert parsed(config.read_text()) == {
        "digits": (str(moved.root / "digits"), "tensorflow", [1, 2]),
        "letters": (str(moved.root / "letters"), "tensorflow", [2]),
    }
    assert [remark for remark in remarks if str(before.root) in remark and str(moved.root) in remark]
    assert "digits/4 is no longer in the repository" in remarks
    assert "letters/2 is routed and was not loaded" in remarks
    inode = config.stat().st_ino
    assert bring_up_to_date(config, moved, RouteTable({"digits": ModelRoutes(2), "letters": ModelRoutes(2)})) == []
    assert config.stat().st_ino == inode, "nothing to change, nothing is written"


def test_only_a_file_that_was_begun_here_bears_the_mark(tmp_path: Path) -> None:
    models = repository(tmp_path / "models")
    theirs, ours = tmp_path / "theirs.config", tmp_path / "ours.config"
    theirs.write_text("model_config_list {}")
    for config in (theirs, ours):
        load_also(config, models, "digits", 1)
        load_also(config, models, "digits", 2)
        unload(config, models, RouteTable({}), "digits", 1)
        assert loaded_versions(config) == {"digits": (2,)}
    assert ours.read_text() == MARK + theirs.read_text()


def test_a_pipe_in_its_place_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "models.config")
    for read in (loaded_versions, is_marked):
        with pytest.raises(ForeignConfiguration, match=r"models\.config cannot be read: not a regular file"):
            read(tmp_path / "models.config")
