"""Exact confidence bounds on a share, without a statistics library in the serving core.

Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial", Biometrika 26
(1934): the bounds are quantiles of beta distributions and hold for every sample size, also for no error at all, where
normal approximations (and, far in the tails that small error rates need, Wilson's) promise more than they keep.
"""

import math

_BISECTIONS = 60
_TINY = 1e-300


def lower_bound(count: int, total: int, alpha: float) -> float:
    """The share that ``count`` of ``total`` lies above, except with probability ``alpha``; 0 without samples."""
    if count <= 0 or total <= 0:
        return 0.0
    return _beta_quantile(alpha, count, total - count + 1)


def upper_bound(count: int, total: int, alpha: float) -> float:
    """The share that ``count`` of ``total`` lies below, except with probability ``alpha``; 1 without samples."""
    if count >= total:
        return 1.0
    return _beta_quantile(1.0 - alpha, count + 1, total - count)


def provably_greater(count: int, total: int, than: tuple[int, int], alpha: float, margin: float = 0.0) -> bool:
    """Whether a share is greater than another, ``than`` = (count, total), by more than ``margin``.

    True when it is not with a probability of at most ``alpha``: each bound is wrong with half of it, and the sum of
    the two covers any dependence between them.
    """
    if total <= 0 or count / total <= than[0] / max(than[1], 1) + margin:
        # Not even as measured: no bound needs to be found.
        return False
    return lower_bound(count, total, alpha / 2) > upper_bound(*than, alpha / 2) + margin


def chance_of_greater(count: int, total: int, than: tuple[int, int]) -> float:
    """How often chance alone gives a share as great as ``count`` of ``total`` beside ``than`` = (count, total).

    Fisher's exact test, one-sided (Fisher, "Statistical methods for research workers", 5th edition (1934), section
    21.02): with all that was found dealt to both anew, the probability that ``total`` get ``count`` or more of it.
    """
    found, everything = count + than[0], total + than[1]
    most = min(found, total)
    if count <= max(0, found - than[1]):
        return 1.0
    if count * everything < found * total:
        # Below the mean it is the other tail that is small enough to be summed.
        return 1.0 - chance_of_greater(found - count + 1, than[1], (count - 1, total))
    log_term = _log_choose(total, count) + _log_choose(than[1], found - count) - _log_choose(everything, found)
    term = chance = math.exp(log_term)
    for drawn in range(count, most):
        term *= (total - drawn) * (found - drawn) / ((drawn + 1) * (than[1] - found + drawn + 1))
        chance += term
        if term < chance * 1e-12:
            break
    return min(chance, 1.0)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _beta_quantile(probability: float, a: float, b: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _beta_cdf(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _beta_cdf(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function: DLMF's continued fraction 8.17.22, on the side where it is fast."""
    if x <= 0.0 or x >= 1.0:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _beta_cdf(1.0 - x, b, a)
    log_front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(log_front) / (a * _continued_fraction(x, a, b))


def _continued_fraction(x: float, a: float, b: float) -> float:
    """1 + d1/(1 + d2/(1 + ...)) of DLMF 8.17.22 by the modified Lentz method."""
    value = numerator = 1.0
    denominator = 0.0
    for step in range(1, 10_000):
        m = step // 2
        if step % 2:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        denominator = 1.0 / (1.0 + d * denominator or _TINY)
        numerator = 1.0 + d / numerator or _TINY
        change = numerator * denominator
        value *= change
        if abs(change - 1.0) < 1e-13:
            break
    return value
