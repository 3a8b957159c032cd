"""Reads a Dockerfile as far as the tests need it: stages and their instructions, without any engine."""

import json
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """One instruction: its keyword in capitals, and the rest of its (joined) lines."""

    keyword: str
    arguments: str

    def exec_form(self) -> list[str]:
        """Return the words of a JSON array at the end of the instruction; ValueError if it uses the shell form."""
        array = self.arguments[self.arguments.find("[") :]
        words = json.loads(array)
        if not all(isinstance(word, str) for word in words):
            raise ValueError(f"{self.keyword} {self.arguments}: expected an array of strings")
        return list(words)


@dataclass(frozen=True)
class Stage:
    """One `FROM image AS name` and the instructions below it."""

    name: str
    image: str
    instructions: tuple[Instruction, ...]

    def all(self, keyword: str) -> list[str]:
        """Return the arguments of every instruction of that keyword, in order."""
        return [each.arguments for each in self.instructions if each.keyword == keyword]

    def last(self, keyword: str) -> Instruction:
        """Return the instruction of that keyword that has effect; IndexError if the stage has none."""
        return [each for each in self.instructions if each.keyword == keyword][-1]

    def copied_from_context(self) -> list[str]:
        """Return the sources of every COPY that reads the build context, not another stage."""
        copies = [arguments.split() for arguments in self.all("COPY")]
        return [source for words in copies if not words[0].startswith("--from=") for source in words[:-1]]


@dataclass(frozen=True)
class Dockerfile:
    """The global ARGs with their defaults, and the stages by name."""

    arguments: dict[str, str]
    stages: dict[str, Stage]


def read_dockerfile(path: Path) -> Dockerfile:
    """Parse a Dockerfile; ValueError for a stage without a name."""
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    name = None
    for instruction in _instructions(path.read_text(encoding="utf-8")):
        if instruction.keyword == "FROM":
            match = re.fullmatch(r"(\S+) AS (\S+)", instruction.arguments)
            if match is None:
                raise ValueError(f"FROM {instruction.arguments}: expected `FROM image AS name`")
            image, name = match.groups()
            stages[name] = Stage(name, image, ())
        elif name is None:
            key, _, value = instruction.arguments.partition("=")
            arguments[key] = value
        else:
            stage = stages[name]
            stages[name] = Stage(name, stage.image, (*stage.instructions, instruction))
    return Dockerfile(arguments, stages)


def _instructions(text: str) -> list[Instruction]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = [line.split(maxsplit=1) for line in joined.splitlines()]
    return [Instruction(keyword.upper(), rest.strip()) for keyword, rest in found]
