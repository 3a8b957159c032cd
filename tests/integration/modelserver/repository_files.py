"""Publishing versions and writing configurations for the tests."""

from pathlib import Path

HALF = 'name: "half" model_version_policy { all {} }'


def copy_tree(source: Path, target: Path) -> None:
    """Copy a version directory and publish it atomically under its number."""
    partial = target.with_name(f"{target.name}.partial")
    for file in source.rglob("*"):
        if file.is_file():
            copy = partial / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    partial.rename(target)


def config_list(repository: Path, *models: str) -> str:
    """Return the text of a ModelServerConfig; each model is its name, or the text of a ModelConfig."""
    entries = [model if '"' in model else f'name: "{model}"' for model in models]
    configs = [
        f'config {{ {entry} base_path: "{repository}/{entry.split(chr(34))[1]}" model_platform: "tensorflow" }}'
        for entry in entries
    ]
    return f"model_config_list {{ {' '.join(configs)} }}"
