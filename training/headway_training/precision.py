"""May a version be computed in bfloat16? Measured on every picture of the validation and test splits.

A version may if nobody would notice: hardly a label changes, those that do are not for the worse, scores stay where
they are, and can be read as probabilities as before.
"""

import contextlib
import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.stats import binomtest

from headway_contract.model_manifest import BFLOAT16, Precision
from headway_training import evaluation
from headway_training.comparison import mcnemar

LEAST_AGREEMENT = 0.98
"""Of the labels with those of float32."""

LEVEL = 0.05
"""More mistakes than chance would make in so few of all cases count as more mistakes."""

MOST_SHIFT = 0.3
"""Of any score of any picture."""

MOST_CALIBRATION_LOSS = 0.02

_REWRITE = "auto_mixed_precision_onednn_bfloat16"
_KEPT_WIDE = {
    f"TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_{change}": "Softmax" for change in ("INFERLIST_REMOVE", "DENYLIST_ADD")
}
"""As in the embedded model server: scores stay probabilities, of 24 bits instead of 8."""

_GOLDEN_FACTOR, _GOLDEN_LEAST = 2.0, 0.002
"""Other kernels round elsewhere: golden scores may lie twice as far off as they do here, and at least so far."""

Scores = NDArray[np.float32]


@contextlib.contextmanager
def computing_in_bfloat16() -> Iterator[None]:
    """A block in which what is traced computes convolutions and products of matrices in bfloat16."""
    added = {name: value for name, value in _KEPT_WIDE.items() if name not in os.environ}
    os.environ.update(added)
    tf.config.optimizer.set_experimental_options({_REWRITE: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({_REWRITE: False})
        for name in added:
            del os.environ[name]


def certificate(
    wide: tuple[Scores, Scores],
    narrow: tuple[Scores, Scores],
    labels: tuple[NDArray[np.int32], NDArray[np.int32]],
    golden: tuple[Scores, Scores],
) -> Precision:
    """Compare scores in float32 (``wide``) with those in bfloat16 (``narrow``).

    Each is a pair for the validation and the test split: ``float32[N, K]`` and ``int32[N]``. ``golden``: the golden
    samples' scores, wide and narrow, ``float32[G, K]``.
    """
    expected, found, truth = np.concatenate(wide), np.concatenate(narrow), np.concatenate(labels)
    was_right, is_right = expected.argmax(axis=1) == truth, found.argmax(axis=1) == truth
    paired = mcnemar(was_right, is_right)
    lost, changed = paired.only_first, paired.only_first + paired.only_second
    finite = bool(np.isfinite(found).all() and np.isfinite(golden[1]).all())
    shift = float(np.abs(found - expected).max()) if finite else 1.0
    agreement = float(np.mean(expected.argmax(axis=1) == found.argmax(axis=1)))
    # One-sided, unlike its own: more right labels are no reason against bfloat16.
    p = float(binomtest(lost, changed, 0.5, alternative="greater").pvalue) if changed else 1.0
    before, after = (
        evaluation.expected_calibration_error(evaluation.reliability(scores, labels[1])) if finite else 1.0
        for scores in (wide[1], narrow[1])
    )
    good = agreement >= LEAST_AGREEMENT and p >= LEVEL and shift <= MOST_SHIFT
    golden_shift = float(np.abs(golden[1] - golden[0]).max()) if finite and len(golden[0]) else 0.0
    return Precision(
        name=BFLOAT16,
        allowed=finite and good and after - before <= MOST_CALIBRATION_LOSS,
        samples=len(truth),
        agreement=agreement,
        accuracy=float(np.mean(is_right)),
        accuracy_float32=float(np.mean(was_right)),
        p=p,
        score_shift=shift,
        calibration_error=after,
        calibration_error_float32=before,
        golden_tolerance=min(1.0, max(_GOLDEN_LEAST, _GOLDEN_FACTOR * golden_shift)),
    )


def sentence(measured: Precision) -> str:
    """The certificate for a person."""
    may = "may" if measured.allowed else "must not"
    return (
        f"{measured.name}: same label for {measured.agreement:.2%} of {measured.samples} pictures, "
        f"scores at most {measured.score_shift:.3f} apart; {may} be computed in it"
    )
