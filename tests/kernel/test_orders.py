"""Orders: a host does nothing for a workflow's worker that was overtaken, and nothing twice."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest

from pilvi.kernel import agent, clock, orders
from pilvi.kernel.bus import Message
from pilvi.kernel.bus.local import LocalBus
from pilvi.kernel.errors import Unavailable
from pilvi.kernel.orders import giving

NOW = orders.fence_of(clock.now() + 3600)


class Door:
    """A host's agent, whose verb waits for its turn."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.turn = threading.Lock()
        self.came = threading.Semaphore(0)

    def push(self, what: str) -> None:
        self.came.release()
        with self.turn:
            orders.check()
            self.done.append(what)


class Echo(LocalBus):
    """Keeps what is said on it, to say it again."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[Message] = []

    def call(self, topic: str, message: Message, *, host: str = "", timeout: float = 60.0) -> msgspec.Raw:
        self.said.append(message)
        return super().call(topic, message, host=host, timeout=timeout)


@pytest.fixture
def bus() -> Any:
    bus = Echo()
    yield bus
    bus.close()


def test_what_one_says_who_was_overtaken_is_not_done(bus: Echo) -> None:
    door = Door()
    agent.serve(bus, "door", door, host="north")
    far = agent.remote(bus, Door, "door", host="north")
    with giving("s1", NOW):
        far.push("first")
        far.push("second")
        with giving("s1", NOW + 1):
            far.push("of the next")
        with pytest.raises(Unavailable, match="Somebody else"):
            far.push("late")
        with giving("s2", NOW):
            far.push("of another subject")
    far.push("of no workflow")
    assert door.done == ["first", "second", "of the next", "of another subject", "of no workflow"]


def test_nothing_is_done_twice(bus: Echo) -> None:
    door = Door()
    agent.serve(bus, "door", door, host="north")
    with giving("s1", NOW):
        agent.remote(bus, Door, "door", host="north").push("once")
    (said,) = bus.said
    assert said.order is not None
    with pytest.raises(Unavailable, match="Somebody else"):
        bus.call("door", said, host="north")
    assert door.done == ["once"]


def test_who_waited_for_a_turn_looks_again(bus: Echo) -> None:
    door = Door()
    agent.serve(bus, "door", door, host="north")
    told: list[str] = []

    def say(fence: int) -> None:
        with giving("s1", fence):
            try:
                agent.remote(bus, Door, "door", host="north").push(str(fence))
            except Unavailable as error:
                told.append(error.message)

    with door.turn:
        threads = [threading.Thread(target=say, args=(fence,)) for fence in (NOW, NOW + 1)]
        for one in threads:
            one.start()
            door.came.acquire()
    for one in threads:
        one.join()
    assert (door.done, len(told)) == ([str(NOW + 1)], 1)


def test_who_serves_a_topic_of_no_host_knows_whose_order_it_is(bus: Echo) -> None:
    class Clerk:
        def ask(self) -> str:
            order = orders.current()
            return f"{order.subject} {order.fence}" if order else "nobody's"

    agent.serve(bus, "clerk", Clerk())
    far = agent.remote(bus, Clerk, "clerk")
    with giving("s1", NOW):
        assert far.ask() == f"s1 {NOW}"
    assert bytes(bus.call("clerk", bus.said[0])) == msgspec.msgpack.encode(f"s1 {NOW}"), "it may be asked twice"
    assert far.ask() == "nobody's"


def test_what_was_forgotten_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "_REMEMBERED", 3)
    taken = orders.Taken()
    for number in range(1, 6):
        taken.take(orders.Order(f"s{number}", number, 1))
    for number in (1, 2, 5):
        with pytest.raises(Unavailable):
            taken.take(orders.Order(f"s{number}", number, 1))
    taken.take(orders.Order("s1", 6, 1))


def test_a_server_takes_nothing_of_leases_that_are_older_than_itself(bus: Echo) -> None:
    door = Door()
    began = clock.now()
    agent.serve(bus, "door", door, host="north")
    far = agent.remote(bus, Door, "door", host="north")
    with giving("s1", orders.fence_of(began)), pytest.raises(Unavailable, match="Somebody else"):
        far.push("of a former life")
    with giving("s1", orders.fence_of(clock.now() + 1)):
        far.push("of this one")
    assert door.done == ["of this one"]
