"""The `headway` command: one table of verbs, each imported only when it is called.

Exit codes: 0 done, 1 something failed, 2 wrong usage or a missing extra, 130 interrupted.
"""

import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE

_OWN_PACKAGES = {"headway_client", "headway_contract", "headway_serving", "headway_training"}


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb: `module.function(argv: list[str]) -> exit code`, and the extra of `headway` that it needs."""

    name: str
    module: str
    function: str
    summary: str
    extra: str | None


VERBS = (
    Verb("classify", "headway_client.classify_cli", "main", "classify pictures through a running gateway", None),
    Verb("feedback", "headway_client.feedback_cli", "main", "tell a gateway the truth about its answers", None),
    Verb("serve", "headway_serving.commands.serve", "main", "host a model repository behind the gateway", "serving"),
    Verb("models", "headway_serving.commands.models", "main", "list what is served; add and remove it", "gateway"),
    Verb(
        "repository",
        "headway_serving.commands.repository",
        "main",
        "check, copy, clean and compare versions",
        "gateway",
    ),
    Verb("rollout", "headway_serving.commands.rollout", "main", "give a new version traffic step by step", "gateway"),
    Verb("top", "headway_serving.commands.top", "main", "a live table of what gateways do", "gateway"),
    Verb("dashboard", "headway_serving.commands.dashboard", "main", "print or write boards for Grafana", None),
    Verb("train", "headway_training.cli", "train_main", "train a base or a head from a recipe", "training"),
    Verb("compare", "headway_training.comparison_cli", "compare_main", "put trained versions side by side", "training"),
    Verb("recipes", "headway_training.cli", "recipes_main", "list the recipes and what they give", "training"),
    Verb(
        "samples",
        "headway_training.cli",
        "samples_main",
        "write pictures of a dataset split to a folder",
        "training",
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `headway` with the arguments after its name (default: the process's) and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            return _dispatch(arguments)
        finally:
            # Here, where a reader that has gone away can still be handled; at exit it would be a traceback.
            sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes once more at exit: let that go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in {"-h", "--help"}:
        sys.stdout.write(_help())
        return 0
    if arguments[0] == "--version":
        sys.stdout.write(f"headway {version('headway')}\n")
        return 0
    verb = next((verb for verb in VERBS if verb.name == arguments[0]), None)
    if verb is None:
        return _refuse(f"headway: {_unknown(arguments[0])}")
    return _call(verb, arguments[1:])


def _call(verb: Verb, arguments: list[str]) -> int:
    try:
        function = getattr(importlib.import_module(verb.module), verb.function)
        code: int = function(arguments)
    except ModuleNotFoundError as error:
        missing = error.name or str(error)
        if missing.partition(".")[0] in _OWN_PACKAGES:
            raise
        requirement = f"headway[{verb.extra}]" if verb.extra else "headway"
        return _refuse(
            f"headway {verb.name} needs the Python module {missing!r}, which is not installed; "
            f"install it with: pip install '{requirement}'"
        )
    return code


def _help() -> str:
    width = max(len(verb.name) for verb in VERBS)
    return "\n".join(
        [
            "usage: headway VERB [ARGUMENT ...]",
            "       headway VERB --help | --help | --version",
            "",
            "Train image classifiers, serve them, classify pictures. Verbs:",
            *(f"  {verb.name:<{width}}  {verb.summary}{_needs(verb)}" for verb in VERBS),
            "",
        ]
    )


def _needs(verb: Verb) -> str:
    return f"  (pip install 'headway[{verb.extra}]')" if verb.extra else ""


def _unknown(word: str) -> str:
    if word.startswith("-"):
        return f"unknown option {word!r}; options come after a verb, see headway --help"
    near = difflib.get_close_matches(word, [verb.name for verb in VERBS], n=1)
    hint = f"did you mean {near[0]!r}?" if near else "see headway --help"
    return f"there is no verb {word!r}; {hint}"


def _refuse(message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
