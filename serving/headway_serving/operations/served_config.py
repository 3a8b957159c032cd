"""The ``models.config`` that ``headway serve`` serves by: its own is brought up to date, another is looked at."""

from pathlib import Path

from headway_contract.model_repository import ModelRepository
from headway_serving.core.routing import RouteTable
from headway_serving.modelserver.errors import StatusError
from headway_serving.modelserver.versions.model_config import ModelConfig, read_config_file, read_models
from headway_serving.operations.models_config import bring_up_to_date, is_marked, write_models_config


class UnusableConfiguration(Exception):
    """A file that somebody else wrote cannot be served by; the text says what is wrong in it and what to do."""


def settle(path: Path, repository: ModelRepository, table: RouteTable) -> list[str]:
    """Write the file if it is not there, bring it up to date if it is Headway's own, else only look at it.

    Returns what people should know. Raises :class:`UnusableConfiguration`, and ``VersionMissing`` for a version that is
    routed and not there when the file is to be written.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_models_config(path, repository, table)
        return []
    if is_marked(path):
        return bring_up_to_date(path, repository, table)
    models = _models(path)
    homeless = [model for model in models if "://" not in model.base_path and not Path(model.base_path).is_dir()]
    if homeless:
        listed = "; ".join(f"{model.name}: base_path {model.base_path} is no folder" for model in homeless)
        raise UnusableConfiguration(
            f"{path} was not written by headway and stays as it is: {listed}; correct it there, or move the file away "
            f"and it is written anew for {repository.root}"
        )
    unknown = sorted(set(table.models) - {model.name for model in models})
    return (
        [f"{', '.join(unknown)}: routed, and not loaded by this file, which headway did not write"] if unknown else []
    )


def _models(path: Path) -> tuple[ModelConfig, ...]:
    try:
        return read_models(read_config_file(path).model_config_list)
    except StatusError as error:
        detail = f" ({error.__cause__})" if error.__cause__ is not None else ""
        raise UnusableConfiguration(
            f"{path} is no configuration of a model server{detail}; headway did not write it and leaves it as it is: "
            "correct it, or move it away and it is written anew"
        ) from error
