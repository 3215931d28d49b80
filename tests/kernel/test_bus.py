"""The bus contract: call, cast, fanout, hosts, errors, time-outs, senders, sizes; the same for every bus driver."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from pilvi.kernel import agent
from pilvi.kernel.agent import cast_to, remote, serve
from pilvi.kernel.bus import MAX_BYTES, Bus, Message
from pilvi.kernel.bus.workers import Workers
from pilvi.kernel.errors import Conflict, Forbidden, HostError, Invalid, PilviError, QuotaExceeded, Unavailable
from tests.kernel.bus_rigs import HOSTILE, Rig, said, until, value


class OwnConflict(Conflict):
    """An error that only one service knows."""


class Star(msgspec.Struct):
    name: str
    planets: dict[str, float] = {}


class Observatory:
    """What is served: it notes what it was told."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.told: list[str] = []
        self.hold = threading.Event()

    def where(self) -> str:
        return self.host

    def rename(self, star: Star, name: str, *, loud: bool = False) -> Star:
        return Star(name=name.upper() if loud else name, planets=star.planets)

    def note(self, word: str) -> None:
        self.told.append(word)

    def fail(self, kind: str) -> None:
        raise {
            "conflict": Conflict("in use"), "own": OwnConflict("in use here", field="star"), "host": HostError("no disk", elsewhere=False),
            "quota": QuotaExceeded(resource="stars", limit=1, used=1, asked=1), "defect": ZeroDivisionError("secret"), "exit": SystemExit(1),
            "kill": KeyboardInterrupt(),
        }[kind]  # fmt: skip

    def wait(self) -> None:
        self.hold.wait(20)

    def wait_and_note(self, word: str) -> None:
        self.hold.wait(20)
        self.told.append(word)

    def unsendable(self) -> Any:
        return threading.Lock()

    def much(self, count: int) -> bytes:
        return bytes(count)

    def take(self, data: bytes) -> int:
        return len(data)

    def who(self) -> str:
        return agent.sender()

    def speak_for(self, host: str) -> str:
        return f"{agent.sender()} for {host}"


@pytest.fixture
def here(rig: Rig) -> Bus:
    """The connection of those who ask."""
    return rig.bus()


@pytest.fixture
def there(rig: Rig) -> Bus:
    """Another, of those who answer."""
    return rig.bus()


def test_a_call_carries_types_both_ways(here: Bus, there: Bus) -> None:
    serve(there, "sky", Observatory("north"), host="north")
    stub = remote(here, Observatory, "sky")
    assert stub.rename(Star("vega", {"b": 1.5}), "lyrae", loud=True) == Star("LYRAE", {"b": 1.5})


def test_hosts_are_told_apart(here: Bus, there: Bus) -> None:
    for host in ("north", "south"):
        serve(there, "sky", Observatory(host), host=host)
    assert [remote(here, Observatory, "sky", host=host).where() for host in ("south", "north", "south")] == ["south", "north", "south"]


def test_hosts_with_hostile_names_are_told_apart(here: Bus, there: Bus) -> None:
    for host in HOSTILE:
        serve(there, "a.b *>", Observatory(host), host=host)
    assert [remote(here, Observatory, "a.b *>", host=host).where() for host in HOSTILE] == list(HOSTILE)
    for host in ("x", "a.*", "x" * 252):
        with pytest.raises(Unavailable):
            remote(here, Observatory, "a.b *>", host=host, timeout=0.5).where()


def test_anyone_answers_for_the_topic(here: Bus, there: Bus) -> None:
    for host in ("north", "south"):
        serve(there, "sky", Observatory(host), host=host)
    stub = remote(here, Observatory, "sky")
    assert {stub.where() for _ in range(100)} == {"north", "south"}


def test_a_cast_goes_to_one_and_a_fanout_to_all(here: Bus, there: Bus) -> None:
    north, south = Observatory("north"), Observatory("south")
    for one in (north, south):
        serve(there, "sky", one, host=one.host)
    cast_to(here, Observatory, "sky", "note", "to the south", host="south")
    until(lambda: south.told == ["to the south"])
    cast_to(here, Observatory, "sky", "note", "to all", everyone=True)
    until(lambda: len(south.told) == 2 and len(north.told) == 1)
    cast_to(here, Observatory, "sky", "note", "to one")
    until(lambda: len(south.told + north.told) == 4)
    assert north.told[0] == south.told[1] == "to all"


def test_a_cast_to_nobody_is_lost_in_silence(here: Bus, there: Bus) -> None:
    cast_to(here, Observatory, "sky", "note", "hello", host="north")
    cast_to(here, Observatory, "sky", "note", "hello", everyone=True)
    with pytest.raises(Unavailable):  # which the broker says after it has had the others
        remote(here, Observatory, "sky", host="north").where()
    north = Observatory("north")
    serve(there, "sky", north, host="north")
    cast_to(here, Observatory, "sky", "note", "again", host="north")
    until(lambda: bool(north.told))
    assert north.told == ["again"]


def test_errors_come_back_as_themselves(here: Bus, there: Bus) -> None:
    serve(there, "sky", Observatory("north"))
    stub = remote(here, Observatory, "sky")
    with pytest.raises(Conflict, match="in use"):
        stub.fail("conflict")
    with pytest.raises(QuotaExceeded, match="Quota exceeded for stars"):
        stub.fail("quota")
    with pytest.raises(HostError, match="no disk") as failed:
        stub.fail("host")
    assert failed.value.elsewhere is False


def test_an_error_of_one_service_comes_back_as_what_all_know(here: Bus, there: Bus) -> None:
    serve(there, "sky", Observatory("north"))
    with pytest.raises(Conflict, match="in use here") as failed:
        remote(here, Observatory, "sky").fail("own")
    assert type(failed.value) is Conflict
    assert failed.value.field == "star"


@pytest.mark.parametrize("kind", ["defect", "exit", "kill"])
def test_a_defect_over_there_tells_nothing_of_itself_and_ends_nothing(here: Bus, there: Bus, kind: str) -> None:
    serve(there, "sky", Observatory("north"), threads=1)
    stub = remote(here, Observatory, "sky")
    for _ in range(3):
        with pytest.raises(PilviError) as failed:
            stub.fail(kind)
        assert "secret" not in failed.value.message
    cast_to(here, Observatory, "sky", "fail", kind)
    assert stub.where() == "north"


def test_what_cannot_be_sent_is_refused_on_every_bus(here: Bus, there: Bus) -> None:
    serve(there, "sky", Observatory("north"))
    with pytest.raises(PilviError, match="failed unexpectedly"):
        remote(here, Observatory, "sky").unsendable()


def test_nobody_there_and_no_answer_in_time_are_unavailable(here: Bus, there: Bus) -> None:
    began = time.monotonic()
    with pytest.raises(Unavailable, match="Nobody answers for sky"):
        remote(here, Observatory, "sky", timeout=30).where()
    with pytest.raises(Unavailable, match="Nobody answers for sky on host north"):
        remote(here, Observatory, "sky", host="north", timeout=30).where()
    assert time.monotonic() - began < 10
    slow = Observatory("north")
    serve(there, "sky", slow)
    with pytest.raises(Unavailable, match=r"No answer from sky within 0\.05 s"):
        remote(here, Observatory, "sky", timeout=0.05).wait()
    slow.hold.set()


def test_a_late_answer_disturbs_nobody(here: Bus, there: Bus) -> None:
    slow = Observatory("north")
    serve(there, "sky", slow)
    with pytest.raises(Unavailable):
        remote(here, Observatory, "sky", timeout=0.05).wait()
    slow.hold.set()
    stub = remote(here, Observatory, "sky")
    assert [stub.take(bytes(count)) for count in range(20)] == list(range(20))


def test_what_waited_longer_than_its_caller_is_not_executed(here: Bus, there: Bus) -> None:
    busy = Observatory("north")
    stop = serve(there, "sky", busy, threads=1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(remote(here, Observatory, "sky").wait_and_note, "first")
        time.sleep(0.2)
        with pytest.raises(Unavailable):
            remote(here, Observatory, "sky", timeout=0.3).note("late")
        time.sleep(0.1)
        busy.hold.set()
        first.result(20)
    assert remote(here, Observatory, "sky").where() == "north"
    assert busy.told == ["first"]
    stop()


def test_a_server_takes_only_so_many_messages_as_may_wait(here: Bus, there: Bus) -> None:
    busy = Observatory("north")
    workers = Workers("busy", 1, waiting=5)
    serve(there, "sky", busy, workers=workers)

    def ask(number: int) -> str:
        try:
            remote(here, Observatory, "sky", timeout=30).wait_and_note(str(number))
        except Unavailable as error:
            assert "too many messages wait there" in error.message
            return "refused"
        return "done"

    began = time.monotonic()
    with ThreadPoolExecutor(30) as pool:
        asked = [pool.submit(ask, number) for number in range(30)]
        until(lambda: sum(one.done() for one in asked) == 24)
        assert time.monotonic() - began < 15
        busy.hold.set()
        answers = [one.result(20) for one in asked]
    assert answers.count("done") == len(busy.told) == 6
    workers.stop()


def test_a_stopped_server_is_not_asked_any_more(here: Bus, there: Bus) -> None:
    stop = serve(there, "sky", Observatory("north"), host="north")
    assert remote(here, Observatory, "sky", host="north").where() == "north"
    stop()
    stop()
    for host in ("", "north"):
        with pytest.raises(Unavailable, match="Nobody answers"):
            remote(here, Observatory, "sky", host=host).where()
    serve(there, "sky", Observatory("north again"), host="north")
    assert remote(here, Observatory, "sky", host="north").where() == "north again"


def test_wrong_methods_and_arguments_are_refused(here: Bus, there: Bus) -> None:
    class Other:
        def where(self, much: int) -> str:
            return ""

        def vanish(self) -> None: ...

        def note(self, word: int) -> None: ...

    serve(there, "sky", Observatory("north"))
    for wrong, name in ((lambda stub: stub.where(1), "where"), (lambda stub: stub.vanish(), "vanish"), (lambda stub: stub.note(1), "note")):
        with pytest.raises(Invalid, match=name):
            wrong(remote(here, Other, "sky"))


def test_an_answer_of_another_type_is_an_error_and_no_defect(here: Bus, there: Bus) -> None:
    class Other:
        def where(self) -> int:
            return 1

    serve(there, "sky", Observatory("north"))
    with pytest.raises(PilviError, match=r"sky\.where was not understood"):
        remote(here, Other, "sky").where()


def test_the_message_comes_as_it_was_sent(here: Bus, there: Bus) -> None:
    came: list[Message] = []
    there.serve("sky", lambda message: came.append(message) or b"\xc3", host="north")
    arguments = {"word": "zażółć", "data": b"\x00\xff", "none": None, "deep": [[1, 2.5], {"a": True}]}
    assert value(here.call("sky", said("any", **arguments), host="north")) is True
    here.cast("sky", said("any", **arguments))
    here.fanout("sky", said("any", **arguments))
    until(lambda: len(came) == 3)
    for message in came:
        assert (message.method, message.request_id, message.sender) == ("any", "req-1", "")
        assert msgspec.msgpack.decode(message.arguments) == arguments


def test_who_says_to_be_another_is_not_believed(here: Bus, there: Bus) -> None:
    serve(there, "sky", Observatory("north"))
    claim = Message("who", msgspec.Raw(b"\x80"), "", "south")
    assert value(here.call("sky", claim)) == ""


def test_messages_and_answers_that_are_too_large_are_refused(here: Bus, there: Bus) -> None:
    serve(there, "sky", Observatory("north"))
    stub = remote(here, Observatory, "sky", timeout=30)
    assert stub.take(bytes(MAX_BYTES - 4096)) == MAX_BYTES - 4096
    assert len(stub.much(MAX_BYTES - 4096)) == MAX_BYTES - 4096
    with pytest.raises(Invalid, match=rf"sky\.take has {MAX_BYTES + 11} bytes; the bus carries at most \d+"):
        stub.take(bytes(MAX_BYTES))
    with pytest.raises(Invalid, match=rf"answer of sky\.much has {MAX_BYTES + 5} bytes"):
        stub.much(MAX_BYTES)
    for everyone in (False, True):
        with pytest.raises(Invalid, match=r"sky\.take"):
            cast_to(here, Observatory, "sky", "take", bytes(MAX_BYTES), everyone=everyone)
    assert stub.where() == "north"


def test_many_threads_ask_at_once_and_each_gets_its_own_answer(here: Bus, there: Bus) -> None:
    serve(there, "sky", Observatory("north"), threads=8)
    stub = remote(here, Observatory, "sky")

    def ask(thread: int) -> list[str]:
        return [stub.rename(Star(""), f"{thread}-{number}").name for number in range(50)]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(16))) == [[f"{thread}-{number}" for number in range(50)] for thread in range(16)]


def test_a_handler_may_ask_others(here: Bus, there: Bus) -> None:
    serve(here, "sky", Observatory("north"), threads=1)

    class Relay:
        def where(self) -> str:
            return remote(there, Observatory, "sky").where()

    serve(there, "relay", Relay(), threads=1)
    assert remote(here, Relay, "relay").where() == "north"


def test_an_agent_is_known_by_its_host_and_speaks_for_it_only(rig: Rig, here: Bus) -> None:
    for topic in ("told", "told.too"):
        serve(here, topic, Observatory("control"))
    for host in ("north", *HOSTILE):
        stub = remote(rig.agent(host), Observatory, "told")
        assert stub.who() == host
        assert stub.speak_for(host) == f"{host} for {host}"
        assert stub.speak_for(f"{host}@pool") == f"{host} for {host}@pool"
        for other in ("elsewhere", "elsewhere@" + host, ""):
            with pytest.raises(Forbidden, match="may not speak for"):
                stub.speak_for(other)
    assert remote(rig.agent("north"), Observatory, "told.too").who() == "north"
    assert remote(here, Observatory, "told").speak_for("elsewhere") == " for elsewhere"
    assert agent.sender() == ""


def test_an_agent_answers_the_control_plane(rig: Rig, here: Bus) -> None:
    north, south = Observatory("north"), Observatory("south")
    for one in (north, south):
        serve(rig.agent(one.host), "sky", one, host=one.host)
    assert remote(here, Observatory, "sky", host="south").where() == "south"
    assert remote(here, Observatory, "sky", host="north").who() == ""
    with pytest.raises(HostError, match="no disk"):
        remote(here, Observatory, "sky", host="north").fail("host")
    assert remote(here, Observatory, "sky", host="north", timeout=30).take(bytes(1_000_000)) == 1_000_000
    cast_to(here, Observatory, "sky", "note", "to all", everyone=True)
    cast_to(here, Observatory, "sky", "note", "to north", host="north")
    until(lambda: len(north.told) == 2 and len(south.told) == 1)


def test_the_end_of_a_bus_leaves_no_thread(rig: Rig) -> None:
    before = set(threading.enumerate())
    bus = rig.bus()
    serve(bus, "sky", Observatory("north"), threads=3)
    remote(bus, Observatory, "sky").where()
    bus.close()
    bus.close()
    until(lambda: not set(threading.enumerate()) - before)
    with pytest.raises(Unavailable):
        remote(bus, Observatory, "sky").where()
    cast_to(bus, Observatory, "sky", "note", "too late")
