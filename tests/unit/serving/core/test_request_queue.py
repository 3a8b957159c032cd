"""Who is worked on, who waits, and what tells a burst from too much, without threads or a clock."""

import pytest

from headway_serving.core.request_queue import INTERVAL_SLOTS, QueueLimits, RequestQueue, Ticket

LIMITS = QueueLimits(most=10, target_seconds=0.25, usual_seconds=10.0)


class Server:
    """A queue, its clock, and the requests that it let in. ``quick``: the seconds of one row, one after the other."""

    def __init__(self, limits: QueueLimits = LIMITS) -> None:
        self.now = 100.0
        self.queue = RequestQueue(limits, self.now)
        self.working: list[Ticket] = []
        self.called: list[Ticket] = []
        self.answered: list[tuple[float, Ticket]] = []

    def arrive(self, rows: int = 1, time_left: float = 10.0, share: float = 1.0) -> Ticket:
        ticket, refused = self.queue.arrive(rows, time_left, share, self.now)
        self.called += refused
        if ticket.started:
            self.working.append(ticket)
        return ticket

    def sheds(self) -> bool:
        return self.queue.shedding

    def answer(self, wanted: int | None = None) -> Ticket:
        """End the request that was begun first."""
        ticket = self.working.pop(0)
        called = self.queue.leave(ticket, self.now, wanted)
        self.called += called
        self.working += [each for each in called if each.started]
        self.answered.append((self.now, ticket))
        return ticket

    def serve(self, asked: float, answered: float, seconds: float) -> int:
        """So many requests a second come, and so many at most are answered; how many were refused until now."""
        refused, step, due, free = 0, 0.01, 0.0, 0.0
        for _ in range(round(seconds / step)):
            self.now += step
            due, free = due + asked * step, min(free + answered * step, 5.0)
            while due >= 1:
                due -= 1
                refused += self.arrive().refused
            while free >= 1 and self.working:
                free -= 1
                self.answer()
        return refused + sum(each.refused for each in self.called)


def test_up_to_the_limit_nobody_waits_and_then_each_end_lets_one_go_on_in_their_order() -> None:
    server = Server()
    first = [server.arrive() for _ in range(10)]
    later = [server.arrive() for _ in range(3)]
    assert all(each.started for each in first)
    assert not any(each.started for each in later)
    for expected in later:
        server.answer()
        assert server.called[-1] is expected
        assert expected.started


def test_a_request_of_many_pictures_waits_for_room_and_then_takes_all_of_it() -> None:
    server = Server()
    many, single = server.arrive(rows=64), server.arrive()
    assert (many.started, single.started) == (True, False)
    server.answer()
    assert single.started


def test_a_burst_is_no_reason_to_refuse_anybody() -> None:
    """Five seconds of twice what can be answered, inside a load of 0.6."""
    server = Server()
    assert server.serve(asked=60, answered=100, seconds=5) == 0
    assert server.serve(asked=200, answered=100, seconds=5) == 0
    assert server.serve(asked=60, answered=100, seconds=15) == 0
    assert max(now - each.arrived for now, each in server.answered) < 6.5
    assert server.queue.waiting == 0


def test_more_than_can_be_answered_is_refused_and_the_others_come_soon() -> None:
    server = Server()
    refused = server.serve(asked=300, answered=100, seconds=30)
    assert refused == pytest.approx(2 * 100 * 30, rel=0.05)
    assert len(server.answered) == pytest.approx(100 * 30, rel=0.03)
    waits = sorted(now - each.arrived for now, each in server.answered)
    assert waits[int(0.99 * len(waits))] < 0.5


def test_it_refuses_nobody_once_less_is_asked_and_at_once_when_it_is_too_much_again() -> None:
    server = Server()
    server.serve(asked=300, answered=100, seconds=10)
    assert server.sheds()
    server.called.clear()
    assert server.serve(asked=50, answered=100, seconds=3) == 0
    assert not server.sheds()
    server.serve(asked=300, answered=100, seconds=1)
    assert server.sheds()


def test_what_was_too_much_long_ago_makes_no_burst_of_today_too_much() -> None:
    """Clients that stop all at once leave nobody who could tell the queue that it is calm."""
    server = Server()
    server.serve(asked=300, answered=100, seconds=10)
    while server.working:
        server.now += 0.01
        server.answer()
    server.now += 3600
    server.called.clear()
    assert server.serve(asked=200, answered=100, seconds=3) == 0
    assert not server.queue.sheds(server.now)


def test_those_who_waited_through_a_stall_are_answered_after_it() -> None:
    server = Server()
    for _ in range(30):
        server.arrive()
    server.now += 8.7
    for _ in range(30):
        server.answer()
        server.now += 0.01
    assert not any(each.refused for each in server.called)
    assert len(server.answered) == 30


def test_clients_who_wait_for_their_answers_are_refused_only_when_they_are_too_many() -> None:
    """Always so many requests are there: the queue stands, however short the time of each may be."""
    for clients, refuses in ((10, False), (20, False), (60, True)):
        server = Server(QueueLimits(most=20, target_seconds=0.25))
        refused = 0
        for _ in range(clients):
            server.arrive()
        for _ in range(60 * 40):
            server.now += 0.025
            server.answer()
            refused += server.arrive().refused
        assert bool(refused) is refuses, clients


def test_a_queue_that_empties_stays_a_good_one_however_long_it_takes() -> None:
    server = Server()
    for _ in range(500):
        server.arrive()
    while server.working:
        server.now += 0.012
        server.answer()
        assert not server.sheds()
    assert server.now - 100.0 > INTERVAL_SLOTS * LIMITS.target_seconds


def test_who_cannot_be_answered_in_time_is_told_so_at_once() -> None:
    server = Server()
    server.serve(asked=150, answered=100, seconds=4)
    assert server.queue.wait == pytest.approx(2.0, rel=0.2)
    assert server.arrive(time_left=1.0).refused
    error = server.queue.overloaded()
    assert "are waiting or worked on" in str(error)
    assert error.retry_after == pytest.approx(2.0, rel=0.2)
    assert not server.arrive(time_left=4.0).refused


def test_while_a_queue_fills_the_newest_is_served_first_but_nobody_waits_half_of_its_time() -> None:
    server = Server()
    server.serve(asked=200, answered=100, seconds=3)
    newest = server.arrive()
    server.answer()
    assert newest.started
    server.serve(asked=200, answered=100, seconds=3)
    assert max(now - each.arrived for now, each in server.answered) < 6.0


def test_when_it_sheds_kinds_of_traffic_are_refused_in_their_order() -> None:
    server = Server()
    server.serve(asked=300, answered=100, seconds=10)
    let_in = set()
    for waiting in range(30):
        server.queue.waiting = waiting
        for share in (0.5, 0.7, 0.85, 1.0):
            if not server.queue.refuses(share, server.now):
                let_in.add((waiting, share))
    longest = {share: max(waiting for waiting, each in let_in if each == share) for share in (0.5, 0.7, 0.85, 1.0)}
    assert longest[0.5] < longest[0.7] < longest[0.85] < longest[1.0] <= 13


def test_who_goes_away_while_waiting_is_never_called() -> None:
    server = Server()
    for _ in range(10):
        server.arrive()
    gone, stays, last = server.arrive(), server.arrive(), server.arrive()
    server.queue.give_up(gone)
    server.queue.give_up(last)
    server.queue.give_up(last)
    assert server.queue.waiting == 1
    server.answer()
    server.answer()
    assert server.called == [stays]


def test_how_many_are_worked_on_follows_what_the_calls_want_within_bounds() -> None:
    server = Server(QueueLimits(most=50))
    for wanted, limit in ((30, 30), (1, 8), (500, 50)):
        server.arrive()
        server.answer(wanted)
        assert server.queue.limit == limit


def test_shadow_traffic_finds_it_free_only_while_there_is_room_to_spare() -> None:
    server = Server()
    assert server.queue.is_free(0.5)
    for _ in range(5):
        server.arrive()
    assert not server.queue.is_free(0.5)
    for _ in range(6):
        server.arrive()
    assert not server.queue.is_free(1.0)
