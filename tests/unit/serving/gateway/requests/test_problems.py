"""Every error of the line has a row of its own in the table of HTTP problems."""

import inspect

import pytest
from werkzeug.exceptions import default_exceptions

from headway_contract.errors import InvalidImage
from headway_serving.core.errors import ServingError
from headway_serving.gateway.requests.problems import PROBLEMS, problem_of


def descendants(kind: type[Exception]) -> list[type[Exception]]:
    return [each for child in kind.__subclasses__() for each in (child, *descendants(child))]


ERRORS = [*descendants(ServingError), InvalidImage, *descendants(InvalidImage)]
ROWS = list(PROBLEMS.items())


def name(value: object) -> str | None:
    return value.__name__ if isinstance(value, type) else None


@pytest.mark.parametrize("kind", ERRORS, ids=name)
def test_every_error_has_a_row_of_its_own(kind: type[Exception]) -> None:
    assert kind in PROBLEMS
    assert problem_of(kind("what went wrong")) is PROBLEMS[kind]


def test_the_table_has_no_row_that_nothing_raises() -> None:
    assert set(PROBLEMS) == set(ERRORS)


def test_codes_are_unique() -> None:
    codes = [problem.code for problem in PROBLEMS.values()]
    assert sorted(codes) == sorted(set(codes))


@pytest.mark.parametrize(("kind", "problem"), ROWS, ids=name)
def test_a_row_says_what_clients_and_readers_need(kind: type[Exception], problem: object) -> None:
    row = PROBLEMS[kind]
    assert 400 <= row.status <= 599
    assert row.title
    assert row.code == getattr(kind, "code", row.code)
    assert inspect.getdoc(kind) != inspect.getdoc(kind.__base__)
    assert (row.retry_after is not None) == (row.status == 503)


def test_an_error_that_nobody_foresaw_is_ours() -> None:
    problem = problem_of(ZeroDivisionError("division by zero"))
    assert (problem.status, problem.code) == (500, "internal_error")


@pytest.mark.parametrize("status", sorted(default_exceptions))
def test_every_error_of_http_itself_keeps_its_status(status: int) -> None:
    problem = problem_of(default_exceptions[status]())
    assert problem.status == status
    assert problem.code
    assert problem.title
