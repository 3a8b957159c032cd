"""One budget of memory for all decoding: who waits, who is refused, and who passes by."""

import threading

import pytest

from headway_contract.errors import ImageTooLarge
from headway_serving.core.decode_budget import DecodeBudget
from headway_serving.core.errors import Overloaded

MOST = 1600
SMALL, LARGE = 100, 800


def seconds(count: float = 30.0) -> float:
    return count


def budget(most_large: int = 2) -> DecodeBudget:
    return DecodeBudget(MOST, most_large)


def test_pictures_share_it() -> None:
    shared = budget()
    shared.take(LARGE, seconds)
    with pytest.raises(Overloaded, match="fill the gateway's memory"):
        shared.take(LARGE, lambda: 0.01)
    shared.give_back(LARGE)
    shared.take(LARGE, seconds)


def test_large_ones_leave_room_to_small_ones_that_wait_in_no_line_behind_them() -> None:
    shared = budget()
    shared.take(1400, seconds)
    waiting = threading.Thread(target=shared.take, args=(LARGE, seconds))
    waiting.start()
    with shared.reserved(SMALL, seconds), shared.reserved(SMALL, seconds):
        pass
    shared.give_back(1400)
    waiting.join(10)
    assert not waiting.is_alive()


def test_only_so_many_large_ones_are_decoded_at_a_time() -> None:
    shared = budget(most_large=1)
    shared.take(200, seconds)
    with pytest.raises(Overloaded):
        shared.take(200, lambda: 0.01)


def test_what_never_fits_is_refused_at_once_with_the_setting() -> None:
    with pytest.raises(ImageTooLarge, match=r"up to 1,401 bytes .* at most 1,400 .*HEADWAY_MAX_DECODE_BYTES"):
        budget().take(1401, seconds)


def test_an_error_within_gives_the_bytes_back() -> None:
    shared = budget()
    with pytest.raises(ZeroDivisionError), shared.reserved(1400, seconds):
        raise ZeroDivisionError
    shared.take(1400, lambda: 0.01)
