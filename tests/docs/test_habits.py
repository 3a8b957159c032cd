"""What keeps the project as it is: licence, hooks and continuous integration call verbs that exist."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
VERBS = set(re.findall(r"^([a-z-]+):.*##", MAKEFILE, re.MULTILINE))


def read_yaml(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def test_the_licence_is_the_one_that_the_package_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()


def test_hooks_call_verbs_of_the_makefile() -> None:
    program = Path(sys.executable).with_name("pre-commit")
    subprocess.run([program, "validate-config"], cwd=ROOT, check=True)
    (repository,) = read_yaml(".pre-commit-config.yaml")["repos"]
    entries = [hook["entry"].split() for hook in repository["hooks"]]
    assert entries
    assert all(command == "make" and verb in VERBS for command, verb in entries)


def test_continuous_integration_runs_what_the_project_has() -> None:
    jobs = read_yaml(".github/workflows/ci.yml")["jobs"]
    assert jobs["locked"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert ".ci/run" in commands
    for command in commands:
        assert (ROOT / command).exists() or command.removeprefix("make ") in VERBS, command


def test_every_verb_is_phony_and_explained() -> None:
    phony = set(re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[0].split())
    assert phony == VERBS
