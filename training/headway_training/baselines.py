"""What simple classifiers reach on the same pictures: a figure says little without one to hold it against."""

import time
import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from headway_training.evaluation import share_right
from headway_training.run_record import Baseline

LINEAR_SAMPLES = 10_000
"""Most training rows that the linear baseline is fitted on; more cost time and move it by less than a point."""


def baselines(
    train_x: NDArray[np.generic],
    train_y: NDArray[np.int32],
    test_x: NDArray[np.generic],
    test_y: NDArray[np.int32],
    seed: int,
) -> tuple[Baseline, ...]:
    """Majority class, nearest centroid and linear (multinomial logistic regression on standardised inputs).

    ``train_x``, ``test_x``: what the classifier sees, ``[N, ...]`` of any number type (pixels for a network from
    scratch, features for a head); ``train_y``, ``test_y``: class indices ``int32[N]``, at least two classes in
    ``train_y``. ``seed`` chooses the rows that the linear one is fitted on where there are more than
    :data:`LINEAR_SAMPLES`; :attr:`Baseline.samples` says how many they are.
    """
    train, test = _flat(train_x), _flat(test_x)
    chosen = np.random.default_rng(seed).permutation(len(train))[:LINEAR_SAMPLES]
    # 50 steps with a firm penalty: on MNIST and Fashion-MNIST as good as the optimum, and some 20 times faster.
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=50))
    classifiers = (
        ("majority class", DummyClassifier(strategy="most_frequent"), slice(None)),
        ("nearest centroid", NearestCentroid(), slice(None)),
        ("linear", linear, chosen),
    )
    found = []
    # One thread: the products are small, and on busy cores waiting for each other costs more than the work itself.
    with threadpool_limits(limits=1), warnings.catch_warnings():
        # Pixels that never change and a fit that stops early are expected here.
        warnings.simplefilter("ignore", UserWarning)
        for name, classifier, rows in classifiers:
            started = time.perf_counter()
            classifier.fit(train[rows], train_y[rows])
            accuracy = share_right(classifier.predict(test), test_y)
            found.append(Baseline(name, accuracy, len(train_y[rows]), time.perf_counter() - started))
    return tuple(found)


def _flat(inputs: NDArray[np.generic]) -> NDArray[np.float32]:
    """``[N, ...]`` -> ``float32[N, D]``. Pixels need no scaling: none of the classifiers depends on a common factor."""
    return inputs.reshape(len(inputs), -1).astype(np.float32, copy=False)
