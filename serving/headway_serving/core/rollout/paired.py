"""Whether one version is less accurate than another, by exact tests: no sample is too small, no approximation is made.

On the same pictures (McNemar, "Note on the sampling error of the difference between correlated proportions or
percentages", Psychometrika 12 (1947), in its exact form): pictures that both label right, or both wrong, say nothing.
Of those that one alone labels right, each version has its share by a fair coin if both are equally accurate.

On pictures of their own (Fisher, "The logic of inductive inference", JRSS 98 (1935)): given how many were right in all,
how many of them are one version's is hypergeometric if both are equally accurate. Versions that were tested on the same
pictures err on the same ones, so their difference varies less than the test allows for: it is then conservative.
"""

import math


def paired_p(only_first: int, only_second: int) -> float:
    """The probability of so many, or more, pictures that ``first`` alone labels right, if both are equally accurate.

    Small where the second is the less accurate one. 1 without a picture that one alone labels right.
    """
    total = only_first + only_second
    # Whole numbers: nothing is rounded before the last division.
    ways = sum(math.comb(total, count) for count in range(only_first, total + 1))
    return float(ways / (1 << total))


def unpaired_p(first: tuple[int, int], second: tuple[int, int]) -> float:
    """The probability of so few, or fewer, right answers of ``second``, if both are equally accurate.

    ``first`` and ``second``: (right, total). 1 where one of them was not tested.
    """
    (right_first, of_first), (right_second, of_second) = first, second
    right = right_first + right_second
    if min(of_first, of_second) <= 0:
        return 1.0
    every = _log_choose(of_first + of_second, right)
    fewest = max(0, right - of_first)
    terms = (
        math.exp(_log_choose(of_second, count) + _log_choose(of_first, right - count) - every)
        for count in range(fewest, right_second + 1)
    )
    return min(1.0, math.fsum(terms))


def _log_choose(total: int, chosen: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)
