"""A class is divided in the shares that were asked for; copies of a picture stay together and starve no split."""

import numpy as np
import pytest

from headway_training.splitting import TEST, TRAIN, VALIDATION, divide


def sizes(contents: list[str], test: float = 0.2, validation: float = 0.1) -> tuple[int, int, int]:
    """Pictures of test, validation and training."""
    test_size, validation_size, train_size = np.bincount(divide(contents, test, validation), minlength=3).tolist()
    return test_size, validation_size, train_size


def with_copies(*copies: int, total: int, seed: int) -> list[str]:
    """So many pictures in the random order of a seed, some of them several times."""
    contents = [f"copied {number}" for number, times in enumerate(copies) for _ in range(times)]
    contents += [f"single {number}" for number in range(total - len(contents))]
    return [contents[place] for place in np.random.default_rng(seed).permutation(total)]


@pytest.mark.parametrize("total", [3, 5, 10, 37, 500])
def test_without_copies_the_first_are_for_the_test_then_for_the_validation(total: int) -> None:
    splits = divide(list(map(str, range(total))), 0.2, 0.1)
    test, held_out = round(total * 0.2), round(total * 0.3)
    assert splits.tolist() == [TEST] * test + [VALIDATION] * (held_out - test) + [TRAIN] * (total - held_out)


@pytest.mark.parametrize("seed", range(20))
def test_a_class_of_40_with_one_picture_ten_times_is_divided_in_its_shares(seed: int) -> None:
    assert sizes(with_copies(10, total=40, seed=seed)) == (8, 4, 28)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("copies", [(10, 10), (5, 4, 3, 2), (2,) * 20, (12, 2, 2, 2), (20,)])
def test_copies_stay_together_and_shares_are_as_near_as_copies_allow(copies: tuple[int, ...], seed: int) -> None:
    contents = with_copies(*copies, total=40, seed=seed)
    splits = divide(contents, 0.2, 0.1)
    for content in set(contents):
        assert len({split for each, split in zip(contents, splits, strict=True) if each == content}) == 1
    # Only where the pairs leave no single picture is one more or less unavoidable.
    assert sizes(contents) in ([(8, 4, 28)] if copies != (2,) * 20 else [(8, 4, 28), (8, 6, 26)])


@pytest.mark.parametrize(
    ("copies", "total", "expected"),
    [
        ((30,), 40, (7, 3, 30)),
        ((38,), 40, (1, 1, 38)),
        ((2, 2, 2), 6, (2, 2, 2)),
        ((13, 13, 14), 40, (13, 13, 14)),
    ],
)
def test_every_split_gets_pictures_as_long_as_there_are_different_ones(
    copies: tuple[int, ...], total: int, expected: tuple[int, int, int]
) -> None:
    assert sizes(with_copies(*copies, total=total, seed=1)) == expected


def test_where_no_share_is_wanted_nothing_goes() -> None:
    assert sizes(["a", "a", "b"], test=0.0, validation=0.0) == (0, 0, 3)
    assert sizes(["a", "a", "b", "c"], test=0.0, validation=0.25) == (0, 1, 3)
    assert sizes([]) == (0, 0, 0)
