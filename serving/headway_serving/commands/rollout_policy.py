"""The part of ``headway rollout start``'s command line that says how to proceed and what to tolerate."""

import argparse

from headway_serving.core.rollout_state import RolloutPolicy

_DEFAULT = RolloutPolicy()


def policy_of(arguments: argparse.Namespace) -> RolloutPolicy:
    """The policy that the arguments describe. Raises ValueError for one that makes no sense."""
    default = _DEFAULT
    disagreement, of_class = arguments.max_disagreement, arguments.max_class_disagreement
    return RolloutPolicy(
        steps=arguments.steps,
        interval_seconds=arguments.interval,
        min_samples=arguments.min_samples,
        patience=arguments.patience,
        false_alarm=arguments.false_alarm,
        max_error_increase=arguments.max_error_increase,
        max_latency_ratio=arguments.max_latency_ratio,
        max_work_ratio=arguments.max_work_ratio,
        max_label_shift=arguments.max_label_shift,
        max_score_shift=arguments.max_score_shift,
        max_accuracy_loss=arguments.max_accuracy_loss,
        # As long as nothing is known of the traffic, all of it.
        shadow_share=1.0 if arguments.shadow is None else arguments.shadow / 100,
        max_disagreement=default.max_disagreement if disagreement is None else disagreement,
        max_class_disagreement=default.max_class_disagreement if of_class is None else of_class,
        keep_when_held=arguments.hold == "keep",
    )


def add_policy(verb: argparse.ArgumentParser) -> None:
    """Add the arguments that :func:`policy_of` reads."""
    default = _DEFAULT
    verb.add_argument(
        "--steps", type=_per_cents, default=default.steps, metavar="P,P,...",
        help="weights of the candidate, per cent (default: 5,25,50,100)",
    )  # fmt: skip
    verb.add_argument(
        "--shadow", type=_share_or_auto, default=None, metavar="auto|P",
        help="mirror P per cent first; 0: none (default: auto; what brings --min-samples pictures in an interval)",
    )  # fmt: skip
    verb.add_argument(
        "--hold", choices=("stable", "keep"), default="stable",
        help="where traffic goes when nothing is decided for too long: to stable, or it stays (default: stable)",
    )  # fmt: skip
    verb.add_argument(
        "--max-latency-ratio", "--max-p99-ratio", type=float, default=default.max_latency_ratio, metavar="X",
        help=f"latency at p50, p90 and p99 to stable's (default: {default.max_latency_ratio:g})",
    )  # fmt: skip
    for name, value, meaning in (
        (
            "--max-disagreement",
            default.max_disagreement,
            "share of a shadow's pictures labelled otherwise than by stable",
        ),
        ("--max-class-disagreement", default.max_class_disagreement, "the same for any one class"),
    ):
        verb.add_argument(
            name, type=float, metavar="X",
            help=f"{meaning} (default: {value:g}; and what stable's test pictures showed)",
        )  # fmt: skip
    for name, metavar, kind, value, meaning in (
        ("--interval", "SECONDS", float, default.interval_seconds, "between two looks at the data"),
        ("--min-samples", "N", int, default.min_samples, "requests (pictures of a shadow) that a look needs"),
        ("--patience", "N", int, default.patience, "looks at one step before giving up"),
        ("--false-alarm", "X", float, default.false_alarm, "chance of rolling back a candidate within all limits"),
        ("--max-error-increase", "X", float, default.max_error_increase, "error rate above stable's, 0 to 1"),
        ("--max-work-ratio", "X", float, default.max_work_ratio, "work for an answer to stable's, in the median"),
        ("--max-label-shift", "X", float, default.max_label_shift, "share of answers more or fewer of any label"),
        ("--max-score-shift", "X", float, default.max_score_shift, "share of answers more or fewer below any score"),
        (
            "--max-accuracy-loss",
            "X",
            float,
            default.max_accuracy_loss,
            "share of wrong answers, by feedback, above stable's",
        ),
    ):
        verb.add_argument(name, type=kind, default=value, metavar=metavar, help=f"{meaning} (default: {value:g})")


def _share_or_auto(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor per cents, such as 10") from error


def _per_cents(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(each) / 100 for each in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not per cents with commas between, such as 5,25,50,100"
        ) from error
