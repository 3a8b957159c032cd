import pytest

from headway_serving.adapters.metrics.page_reading import read_page


def test_a_page_is_read_with_its_labels() -> None:
    page = read_page('headway_build_info{process="p",version="1"} 1\nheadway_queue_pictures{model="m"} 3\n', 5.0)
    assert (page.at, page.process) == (5.0, "p")
    assert list(page.of("headway_queue_pictures")) == [({"model": "m"}, 3.0)]


@pytest.mark.parametrize("text", ["", "<html>hello</html>", "up 1\n"])
def test_what_is_no_page_of_a_gateway_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        read_page(text, 0.0)
