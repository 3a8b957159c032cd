"""A head without hidden layers, fitted to its optimum: multinomial logistic regression on a frozen base's features.

The loss is convex, so there is one optimum, and neither a learning rate nor a number of epochs to choose. What is
chosen is how strong the penalty is, and whether mirror images help: by cross-validation over all the pictures that are
not kept for the test. Then the head is fitted on all of them; what the folds answered about pictures that they had not
seen stands for the validation split, where scores are calibrated.

Sources: Kornblith, Shlens, Le, Do better ImageNet models transfer better?, CVPR 2019 (logistic regression on frozen
features, L-BFGS, penalty by validation); Stone, Cross-validatory choice and assessment of statistical predictions,
JRSS B 36 (1974).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from headway_training.calibration import apply_temperature, fit_temperature
from headway_training.evaluation import cross_entropy, share_right
from headway_training.familiarity import MEANS, Learned, Signs, class_means, signs_of

MOST_ROWS = 10_000
"""Pictures that the penalty is chosen on at most, drawn by seed: more cost time and move it little."""

SKEWED = 5.0
"""From this ratio of the largest class to the smallest on, each class weighs the same."""

_FOLDS = 5
_FIRST_PENALTY = 100.0
_STEP = 10**0.5
_PENALTIES = (0.1, 10_000.0)
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Rows:
    """What a head is fitted on: N pictures.

    ``features``, and ``mirrored`` of their mirror images if those may be used: ``float32[N, D]``. ``labels``:
    ``int32[N]``. ``contents``: N texts, equal for copies of a picture.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int32]
    contents: tuple[str, ...]
    mirrored: NDArray[np.float32] | None = None

    def take(self, members: NDArray[np.intp]) -> "Rows":
        """Some of the pictures."""
        mirrored = None if self.mirrored is None else self.mirrored[members]
        contents = tuple(self.contents[member] for member in members.tolist())
        return Rows(self.features[members], self.labels[members], contents, mirrored)


@dataclass(frozen=True)
class _Wanted:
    classes: int
    most_iterations: int
    label_smoothing: float
    balanced: bool


@dataclass(frozen=True)
class LinearFit:
    """A fitted head: ``softmax(features @ kernel + bias)``, ``float32[D, K]`` and ``float32[K]``.

    ``penalty``: the factor of half the squared kernel, of standardised features, beside the sum of the losses.
    ``mirrored``: whether mirror images were learned from; None where there were none. ``balanced``: whether classes
    weigh the same. ``held_out``: scores ``float32[M, K]`` of pictures by heads of other folds, which had not seen them,
    their ``held_out_labels``, and their ``held_out_signs`` of familiarity. ``pictures``: fitted on; ``loss``,
    ``accuracy``: on them; ``iterations``, ``seconds``: of the last fit; ``converged``: whether that ended at the
    optimum before the iterations were over.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    penalty: float
    mirrored: bool | None
    balanced: bool
    held_out: NDArray[np.float32]
    held_out_labels: NDArray[np.int32]
    held_out_signs: Signs
    folds: int
    pictures: int
    loss: float
    accuracy: float
    iterations: int
    seconds: float
    converged: bool

    @property
    def held_out_loss(self) -> float:
        """Mean cross-entropy of the folds' answers, in nats."""
        return float(cross_entropy(self.held_out, self.held_out_labels).mean())

    @property
    def held_out_accuracy(self) -> float:
        """Share of the folds' answers that are right."""
        return share_right(self.held_out.argmax(axis=1), self.held_out_labels).value


def fit_linear_head(
    rows: Rows, classes: int, seed: int, most_iterations: int, label_smoothing: float, weigh: str
) -> LinearFit:
    """Fit a head of K = ``classes`` scores; equal arguments give equal weights.

    Every class must have two pictures. ``most_iterations``: of L-BFGS, for each fit. ``label_smoothing``: the share of
    a label, 0..1, that is spread over all classes. ``weigh``: ``none``; ``balanced``, all classes weigh the same;
    ``auto``, they do where the largest is :data:`SKEWED` times the smallest.
    """
    counts = np.bincount(rows.labels, minlength=classes)
    balanced = weigh == "balanced" or (weigh == "auto" and bool(counts.max() >= SKEWED * counts.min()))
    wanted = _Wanted(classes, most_iterations, label_smoothing, balanced)
    chosen = rows.take(np.sort(_sample(rows.labels, seed)))
    folds = _folds(chosen, seed)

    def held_out(penalty: float, *, mirrored: bool) -> NDArray[np.float32]:
        logits = np.zeros((len(chosen.labels), classes), np.float32)
        for train, test in folds:
            solution = _fit(chosen.take(train), wanted, penalty, mirrored=mirrored)
            logits[test] = _logits(chosen.features[test], solution)
        return logits

    def loss(logits: NDArray[np.float32]) -> float:
        # As they will be, calibrated: a strong penalty makes scores timid, which costs nothing once that is put right.
        scores = softmax(logits, axis=1)
        calibrated = apply_temperature(scores, fit_temperature(scores, chosen.labels))
        return float(cross_entropy(calibrated, chosen.labels).mean())

    # One thread: the products are small, and the sums must not depend on how many cores there are.
    with threadpool_limits(limits=1):
        penalty, logits = _best_penalty(lambda each: held_out(each, mirrored=False), loss)
        mirrored = None
        if rows.mirrored is not None:
            with_mirrored = held_out(penalty, mirrored=True)
            mirrored = loss(with_mirrored) < loss(logits)
            logits = with_mirrored if mirrored else logits
        started = time.perf_counter()
        solution = _fit(rows, wanted, penalty, mirrored=bool(mirrored))
        seconds = time.perf_counter() - started
        fitted = softmax(_logits(rows.features, solution), axis=1)
    return LinearFit(
        solution.kernel,
        solution.bias,
        penalty=penalty,
        mirrored=mirrored,
        balanced=balanced,
        held_out=softmax(logits, axis=1),
        held_out_labels=chosen.labels,
        held_out_signs=_held_out_signs(chosen, logits, folds, seed),
        folds=len(folds),
        pictures=len(rows.labels),
        loss=float(cross_entropy(fitted, rows.labels).mean()),
        accuracy=share_right(fitted.argmax(axis=1), rows.labels).value,
        iterations=solution.iterations,
        seconds=seconds,
        converged=solution.iterations < most_iterations,
    )


def sentence(fit: LinearFit) -> str:
    """For people: what was fitted, what was chosen for it, and what the folds answered."""
    pictures = len(fit.held_out_labels)
    parts = [
        f"head: logistic regression on {fit.pictures:,} pictures, "
        + ("at its optimum" if fit.converged else "stopped before its optimum by fitting.epochs")
        + f" after {fit.iterations} iterations",
        f"accuracy {fit.held_out_accuracy:.4f} in {fit.folds}-fold cross-validation"
        + ("" if pictures == fit.pictures else f" over {pictures:,} of them")
        + f", which chose penalty {fit.penalty:.3g}",
    ]
    if fit.mirrored is not None:
        parts.append(f"mirror images {'help and are used too' if fit.mirrored else 'do not help and are left out'}")
    if fit.balanced:
        parts.append("all classes weigh the same, however many pictures they have")
    return "; ".join(parts)


def _best_penalty(
    held_out: Callable[[float], NDArray[np.float32]], loss: Callable[[NDArray[np.float32]], float]
) -> tuple[float, NDArray[np.float32]]:
    """Go from a usual penalty to where the folds' loss is least; it has one minimum but for noise."""
    best, logits = _FIRST_PENALTY, held_out(_FIRST_PENALTY)
    least = loss(logits)
    for step in (_STEP, 1 / _STEP):
        moved = False
        while _PENALTIES[0] <= best * step <= _PENALTIES[1]:
            others = held_out(best * step)
            if (reached := loss(others)) >= least:
                break
            best, logits, least, moved = best * step, others, reached, True
        if moved:
            break
    return best, logits


def _held_out_signs(
    rows: Rows, logits: NDArray[np.float32], folds: Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]], seed: int
) -> Signs:
    """The signs of familiarity of each picture, under the head and the class means of a fold without it."""
    energies, cosines = np.zeros(len(rows.labels)), np.zeros(len(rows.labels))
    for train, test in folds:
        means = class_means(Learned(rows.features[train], rows.labels[train]), MEANS, seed)
        signs = signs_of(rows.features[test], logits[test], means)
        energies[test], cosines[test] = signs.energies, signs.cosines
    return Signs(energies, cosines)


def _sample(labels: NDArray[np.int32], seed: int) -> NDArray[np.intp]:
    """At most :data:`MOST_ROWS` pictures, of each class in its share, and two of each at least."""
    if len(labels) <= MOST_ROWS:
        return np.arange(len(labels))
    draw = np.random.default_rng(seed)
    share = MOST_ROWS / len(labels)
    members = [draw.permutation(np.flatnonzero(labels == each)) for each in np.unique(labels)]
    return np.concatenate([each[: max(2, round(share * len(each)))] for each in members])


def _folds(rows: Rows, seed: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Training and held-out pictures of each fold; copies of a picture share a fold if a class has others."""
    groups = np.unique(np.array(rows.contents), return_inverse=True)[1]
    pictures = np.bincount(rows.labels)
    distinct = [len(np.unique(groups[rows.labels == each])) for each in np.flatnonzero(pictures)]
    if min(distinct) < 2:
        groups, distinct = np.arange(len(groups)), [int(count) for count in pictures if count]
    splitter = StratifiedGroupKFold(min(_FOLDS, *distinct), shuffle=True, random_state=seed)
    return list(splitter.split(rows.features, rows.labels, groups))


class _Solution(NamedTuple):
    """Weights for features as they are, and the iterations that they took."""

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    iterations: int


def _fit(rows: Rows, wanted: _Wanted, penalty: float, *, mirrored: bool = False) -> _Solution:
    features, labels = rows.features, rows.labels
    if mirrored:
        assert rows.mirrored is not None
        features, labels = np.concatenate([features, rows.mirrored]), np.concatenate([labels, labels])
        # Twice the rows are not twice the evidence: a mirror image is the same picture.
        penalty *= 2
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1).astype(np.float32)
    prepared = (features - mean) / scale, _smoothed(labels, wanted), _weights(labels, wanted)
    shape = features.shape[1], wanted.classes
    found = minimize(
        _loss_and_gradient,
        np.zeros((shape[0] + 1) * shape[1]),
        args=(*prepared, penalty),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": wanted.most_iterations, "ftol": _TOLERANCE},
    )
    both = found.x.reshape(shape[0] + 1, shape[1]).astype(np.float32)
    kernel = both[:-1] / scale[:, None]
    return _Solution(kernel, both[-1] - mean @ kernel, int(found.nit))


def _loss_and_gradient(
    flat: NDArray[np.float64],
    inputs: NDArray[np.float32],
    targets: NDArray[np.float32],
    weights: NDArray[np.float32],
    penalty: float,
) -> tuple[float, NDArray[np.float64]]:
    """The weighted sum of the cross-entropies and half the penalty times the squared kernel; the bias goes free."""
    both = flat.reshape(-1, targets.shape[1]).astype(np.float32)
    kernel, bias = both[:-1], both[-1]
    logits = log_softmax(inputs @ kernel + bias, axis=1)
    loss = -float((weights * (targets * logits).sum(axis=1)).sum()) + penalty / 2 * float(np.vdot(kernel, kernel))
    rest = weights[:, None] * (np.exp(logits) - targets)
    return loss, np.concatenate([inputs.T @ rest + penalty * kernel, rest.sum(axis=0)[None]]).ravel().astype(np.float64)


def _smoothed(labels: NDArray[np.int32], wanted: _Wanted) -> NDArray[np.float32]:
    sure = np.eye(wanted.classes, dtype=np.float32)[labels]
    return np.asarray(sure * (1 - wanted.label_smoothing) + wanted.label_smoothing / wanted.classes, np.float32)


def _weights(labels: NDArray[np.int32], wanted: _Wanted) -> NDArray[np.float32]:
    """What each row counts: 1, or where classes weigh the same, as much as makes them equal and 1 on average."""
    if not wanted.balanced:
        return np.ones(len(labels), np.float32)
    counts = np.bincount(labels, minlength=wanted.classes)
    return (len(labels) / np.count_nonzero(counts) / counts[labels]).astype(np.float32)


def _logits(features: NDArray[np.float32], solution: _Solution) -> NDArray[np.float32]:
    """The logits of N rows: ``float32[N, K]``."""
    logits: NDArray[np.float32] = features @ solution.kernel + solution.bias
    return logits
