"""Divides the pictures of one class into test, validation and training. Copies of a picture are never parted.

Copies come first, the most numerous before the others, each to the split that still lacks most; single pictures then
fill what is left. So a picture that is there ten times goes where there is room for ten, and the shares come out as
near to what was asked as copies allow. Without copies they are exact.
"""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

TEST, VALIDATION, TRAIN = range(3)


def divide(contents: Sequence[Hashable], test: float, validation: float) -> NDArray[np.intp]:
    """For each picture :data:`TEST`, :data:`VALIDATION` or :data:`TRAIN`: ``intp[N]``.

    ``contents``: equal for copies, in random order: of single pictures the first are for the test. ``test``,
    ``validation``: shares of all, 0 to 1. A split of which a share is wanted gets pictures as long as there are
    different ones enough, if need be more than its share.
    """
    total = len(contents)
    for_test, not_for_training = round(total * test), round(total * (test + validation))
    lacking = [for_test, not_for_training - for_test, total - not_for_training]
    empty = {split for split, number in enumerate(lacking) if number > 0}
    sizes = Counter(contents)
    # Python's sort is stable: among equals the random order decides.
    largest_first = sorted(sizes, key=lambda content: -sizes[content])
    split_of: dict[Hashable, int] = {}
    singles = [0, 0, 0]
    for placed, content in enumerate(largest_first):
        # Of the last ones each split that has nothing yet gets one.
        open_to = empty if empty and len(largest_first) - placed <= len(empty) else range(3)
        # Training, the last of them, is first where several lack as much.
        split = max(open_to, key=lambda split: (lacking[split], split))
        lacking[split] -= sizes[content]
        empty.discard(split)
        if sizes[content] > 1:
            split_of[content] = split
        else:
            singles[split] += 1
    rest = iter(np.repeat([TEST, VALIDATION, TRAIN], singles).tolist())
    return np.array([split_of[content] if content in split_of else next(rest) for content in contents], np.intp)
