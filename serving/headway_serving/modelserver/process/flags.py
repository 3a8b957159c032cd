"""The command line, read as TensorFlow Serving reads it.

Only ``--name=value`` exists; a boolean may also stand alone. An argument that is no flag does not stop the
server: it is reported and skipped. A value that cannot be read does stop it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

from headway_serving.modelserver.process.flag_table import FLAGS, Flag, Kind, ServerOptions, Support

Value = bool | int | float | str

_BITS = {Kind.INT32: 32, Kind.INT64: 64}
_BOOLEANS = {"": True, "=true": True, "=false": False}
_PROFILER = "enable_profiler"
"""The flag that is on by default and without effect: switching it off is what this server does anyway."""

_WHOLE_NUMBER = re.compile(r"\s*[+-]?[0-9]+", re.ASCII)


class FlagError(ValueError):
    """One or more flags carry values that cannot be read; each line of the text names one."""


@dataclass(frozen=True)
class CommandLine:
    """What a command line asks for.

    ``unknown`` holds arguments that are no flag, ``ignored`` and ``refused`` the names of flags given a value other
    than their default that this server does not honour, or must not start with. ``profiler``: the profiler's service is
    asked for, as it is by default.
    """

    options: ServerOptions
    show_version: bool
    show_help: bool
    unknown: tuple[str, ...]
    ignored: tuple[str, ...]
    refused: tuple[str, ...]
    profiler: bool


def parse(arguments: Sequence[str]) -> CommandLine:
    """Read ``arguments`` (without the program's name); of a flag given twice the last counts.

    Raises FlagError if a flag's value is not of its type.
    """
    given: dict[str, Value] = {}
    unknown: list[str] = []
    errors: list[str] = []
    for position, argument in enumerate(arguments):
        if argument == "--":
            unknown += arguments[position:]
            break
        match = _match(argument)
        if match is None:
            unknown.append(argument)
            continue
        flag, text = match
        value = _read(flag.kind, text)
        if value is None:
            errors.append(f"Couldn't interpret value {text.removeprefix('=')} for flag {flag.name}.")
        else:
            given[flag.name] = value
    if errors:
        raise FlagError("\n".join(errors))
    return _command_line(given, unknown)


def usage(program: str) -> str:
    """Return the usage text: one line per flag with its default, its type and its help."""
    lines = [f"\t{_shown(flag):<33}\t{flag.kind.value}\t{_help(flag)}\n" for flag in FLAGS]
    return f"usage: {program}\nFlags:\n" + "".join(lines)


def _match(argument: str) -> tuple[Flag, str] | None:
    """Return the flag that claims ``argument`` and the rest of the text; for a boolean the rest may be anything."""
    for flag in FLAGS:
        head = f"--{flag.name}" if flag.kind is Kind.BOOL else f"--{flag.name}="
        if argument.startswith(head):
            return flag, argument.removeprefix(head)
    return None


def _read(kind: Kind, text: str) -> Value | None:
    if kind is Kind.BOOL:
        return _BOOLEANS.get(text.lower())
    if kind is Kind.STRING:
        return text
    if kind is Kind.FLOAT:
        try:
            return float(text)
        except ValueError:
            return None
    if not _WHOLE_NUMBER.fullmatch(text):
        return None
    limit = 1 << (_BITS[kind] - 1)
    number = int(text)
    return number if -limit <= number < limit else None


def _command_line(given: dict[str, Value], unknown: Sequence[str]) -> CommandLine:
    def changed(support: Support) -> tuple[str, ...]:
        named = (f for f in FLAGS if f.support is support and f.name in given and f.name != _PROFILER)
        return tuple(f.name for f in named if given[f.name] != f.default)

    names = {field.name for field in fields(ServerOptions)}
    values = {name: value for name, value in given.items() if name in names}
    return CommandLine(
        options=ServerOptions(**values),  # type: ignore[arg-type]  # _read returned the type of the flag's row
        show_version=bool(given.get("version", False)),
        show_help=unknown[:1] == ["--help"],
        unknown=tuple(unknown),
        ignored=changed(Support.IGNORED),
        refused=changed(Support.REFUSED),
        profiler=bool(given.get(_PROFILER, True)),
    )


def _shown(flag: Flag) -> str:
    if flag.kind is Kind.BOOL:
        return f"--{flag.name}={str(flag.default).lower()}"
    if flag.kind is Kind.STRING:
        return f'--{flag.name}="{flag.default}"'
    return f"--{flag.name}={flag.default}"


def _help(flag: Flag) -> str:
    notes = {
        Support.HONOURED: "",
        Support.IGNORED: " (ignored by the embedded server)",
        Support.REFUSED: " (not supported: the embedded server does not start with it)",
    }
    return flag.help + notes[flag.support]
