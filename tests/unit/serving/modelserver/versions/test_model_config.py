"""The text of a ModelServerConfig becomes models, or a clear refusal."""

from pathlib import Path

import pytest

from headway_serving.modelserver.errors import StatusError
from headway_serving.modelserver.versions.model_config import (
    AllVersions,
    Latest,
    ModelConfig,
    Specific,
    read_config_file,
    read_models,
    single_model_config,
)

CONFIG = """
model_config_list {
  config { name: "plain" base_path: "/models/plain" model_platform: "tensorflow" }
  config {
    name: "newest" base_path: "/m" model_platform: "tensorflow"
    model_version_policy { latest { num_versions: 2 } }
    version_labels { key: "stable" value: 3 }
  }
  config { name: "every" base_path: "/m" model_platform: "tensorflow" model_version_policy { all {} } }
  config {
    name: "some" base_path: "/m" model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 versions: 4 } }
  }
}
"""


def test_a_config_file_gives_models_with_policies_and_labels(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_text(CONFIG)
    plain, newest, every, some = read_models(read_config_file(path).model_config_list)
    assert plain == ModelConfig("plain", "/models/plain")
    assert (newest.policy, newest.labels) == (Latest(2), {"stable": 3})
    assert every.policy == AllVersions()
    assert some.policy == Specific(frozenset({1, 4}))


def test_one_model_of_the_command_line_serves_its_latest_version() -> None:
    config = single_model_config("digits", "/models/digits")
    assert read_models(config.model_config_list) == (ModelConfig("digits", "/models/digits", Latest(1)),)


def test_a_file_that_is_no_config_or_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    with pytest.raises(StatusError) as caught:
        read_config_file(path)
    assert str(caught.value) == f"NOT_FOUND: {path}; No such file or directory"
    path.write_text("model_config_list { nonsense }")
    with pytest.raises(StatusError) as caught:
        read_config_file(path)
    assert str(caught.value) == f"INVALID_ARGUMENT: Invalid protobuf file: '{path}'"
