"""How much a picture is like those that a model learned from: a figure of 0 to 1 that is served beside the scores.

Scores say which of its classes a model would choose, not whether it should choose at all: a photo of a shirt gets some
kind of animal for an answer. Two signs tell such pictures apart, each where the other fails:

* the **energy**, the log of the summed exponentials of the logits: a picture of something that resembles none of the
  classes gives small logits, even if they favour one (Liu, Wang, Owens, Li, Energy-based out-of-distribution detection,
  NeurIPS 2020);
* the **cosine** between the picture's features and the nearest mean of the training pictures' features: pictures of
  another kind point elsewhere, also where the logits are large (Lee, Lee, Lee, Shin, A simple unified framework for
  detecting out-of-distribution samples and adversarial attacks, NeurIPS 2018, with cosines in the place of
  Mahalanobis distances; each class has several means, since birds in flight and on water are not one cloud).

Each is standardised on pictures that the model has not learned from, they are added, and the sum is read off the
distribution that it has on those pictures: of pictures like them a share of 0.05 lies under 0.05.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.special import logsumexp
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

OUTPUT = "familiarity"
"""What the output is called in the signatures."""

LOW = 0.05
"""Pictures under it deserve a second look: of those like the ones it was calibrated on, this share lies there."""

FEWEST = 40
"""Pictures that it takes to know where the lowest twentieth of them lies."""

MEANS = 4
"""Means of a class, under features that were not learned for these classes."""

_LEARNED_OF_CLASS = 200
_LEARNED = 20_000
_FEWEST_FOR_A_MEAN = 10
_COSINE_WEIGHT = 0.5
_LEVELS = 32
_EPSILON = 1e-6


@dataclass(frozen=True)
class Signs:
    """Of N pictures: ``energies`` and ``cosines``, both ``float64[N]``."""

    energies: NDArray[np.float64]
    cosines: NDArray[np.float64]


@dataclass(frozen=True)
class Learned:
    """Features ``float32[N, D]`` and labels ``int32[N]`` of the pictures that a model has learned from, or of some."""

    features: NDArray[np.float32]
    labels: NDArray[np.int32]


@dataclass(frozen=True)
class Familiarity:
    """All that turns features and logits into a familiarity.

    ``means``: ``float32[M, D]``, of length 1. ``temperature``: what logits are multiplied by first. ``energy``,
    ``cosine``: mean and deviation. ``values``, ``levels``: ``float32[Q]``, ascending: the sums of both signs that have
    these familiarities; between them it is interpolated, beyond them it approaches 0 and 1 at the rate ``tail``.
    """

    means: NDArray[np.float32]
    temperature: float
    energy: tuple[float, float]
    cosine: tuple[float, float]
    values: NDArray[np.float32]
    levels: NDArray[np.float32]
    tail: float
    samples: int

    def of(self, features: Any, logits: Any, means: Any = None) -> Any:
        """The familiarity of N pictures: ``float32[N, D]`` and ``float32[N, K]`` -> ``float32[N]``, as a tensor.

        ``means``: a variable that holds :attr:`means`, for a graph that should not hold them as a constant.
        """
        means = tf.constant(self.means) if means is None else means
        units = features / (tf.norm(features, axis=1, keepdims=True) + _EPSILON)
        cosines = tf.reduce_max(tf.matmul(units, means, transpose_b=True), axis=1)
        energies = tf.reduce_logsumexp(logits * self.temperature, axis=1)
        return self._levels_of(self._sums(energies, cosines))

    def _sums(self, energies: Any, cosines: Any) -> Any:
        (middle, width), (middle_cosine, width_cosine) = self.energy, self.cosine
        return (energies - middle) / width + _COSINE_WEIGHT * (cosines - middle_cosine) / width_cosine

    def _levels_of(self, sums: Any) -> Any:
        values, levels = self.values, self.levels
        along = tf.clip_by_value((sums[:, None] - values[:-1]) / np.diff(values), 0.0, 1.0)
        between = tf.reduce_sum(along * np.diff(levels), axis=1)
        below = levels[0] * tf.exp(tf.minimum(sums - values[0], 0.0) / self.tail)
        above = (1 - levels[-1]) * (1 - tf.exp(-tf.maximum(sums - values[-1], 0.0) / self.tail))
        return below + between + above


def sample(labels: NDArray[np.int32], seed: int) -> NDArray[np.intp]:
    """Which pictures the means are taken of, ascending: some of each class, drawn by seed."""
    draw = np.random.default_rng(seed)
    members = [draw.permutation(np.flatnonzero(labels == each)) for each in np.unique(labels)]
    most = max(1, min(_LEARNED_OF_CLASS, _LEARNED // max(1, len(members))))
    return np.sort(np.concatenate([each[:most] for each in members]))


def class_means(learned: Learned, per_class: int, seed: int) -> NDArray[np.float32]:
    """Means of each class' features, ``float32[M, D]`` of length 1: ``per_class`` of them where it has the pictures."""
    units = _units(learned.features)
    chosen = sample(learned.labels, seed)
    found = []
    # One thread: sums that are made in another order would give other means.
    with threadpool_limits(limits=1):
        for each in np.unique(learned.labels):
            members = units[chosen[learned.labels[chosen] == each]]
            clusters = min(per_class, max(1, len(members) // _FEWEST_FOR_A_MEAN))
            if clusters == 1:
                found.append(members.mean(axis=0, keepdims=True))
            else:
                fitted = KMeans(clusters, n_init=1, random_state=seed, max_iter=50).fit(members)
                found.append(fitted.cluster_centers_)
    return _units(np.concatenate(found).astype(np.float32))


def signs_of(features: NDArray[np.float32], logits: NDArray[np.float32], means: NDArray[np.float32]) -> Signs:
    """Both signs of N pictures: ``float32[N, D]`` and ``float32[N, K]``, not calibrated."""
    return Signs(logsumexp(logits.astype(np.float64), axis=1), cosines_of(features, means))


def cosines_of(features: NDArray[np.float32], means: NDArray[np.float32]) -> NDArray[np.float64]:
    """The cosine of N pictures to the nearest of the means: ``float64[N]``."""
    return np.asarray((_units(features) @ means.T).max(axis=1), np.float64)


def fit_familiarity(signs: Signs, means: NDArray[np.float32], temperature: float) -> Familiarity | None:
    """Calibrate on the ``signs`` of pictures that were not learned from.

    ``temperature``: what the model's logits were divided by after the signs were taken. None if there are fewer than
    :data:`FEWEST` of them, or all look the same.
    """
    count = len(signs.energies)
    if count < FEWEST:
        return None
    energy, cosine = _middle_and_width(signs.energies), _middle_and_width(signs.cosines)
    sums = (signs.energies - energy[0]) / energy[1] + _COSINE_WEIGHT * (signs.cosines - cosine[0]) / cosine[1]
    least = 1 / (count + 1)
    levels = np.unique(np.append(np.linspace(least, 1 - least, _LEVELS), LOW))
    values, first = np.unique(np.quantile(sums, levels, method="weibull").astype(np.float32), return_index=True)
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    tail = float(sums.std()) / 2
    return Familiarity(means, temperature, energy, cosine, values, levels[first].astype(np.float32), tail, count)


def _middle_and_width(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values.mean()), max(float(values.std()), _EPSILON)


def _units(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    units: NDArray[np.float32] = rows / (np.linalg.norm(rows, axis=1, keepdims=True) + _EPSILON)
    return units
