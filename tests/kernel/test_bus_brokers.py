"""What only a bus with a broker has to stand: outages, strangers, forged names, junk, doubled answers, and TLS."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from pilvi.kernel.agent import cast_to, remote, serve
from pilvi.kernel.bus import Bus, Reply
from pilvi.kernel.bus.amqp_rights import definitions
from pilvi.kernel.bus.broker import Broker
from pilvi.kernel.bus.connect import connect
from pilvi.kernel.bus.names import agent_user
from pilvi.kernel.certificates import Authority
from pilvi.kernel.config import BusSettings
from pilvi.kernel.errors import Forbidden, Invalid, PilviError, Unavailable
from pilvi.kernel.testing import brokers
from pilvi.kernel.testing.ports import take_port
from tests.kernel.bus_rigs import TOPICS, BrokerRig, alone, said, until, value
from tests.kernel.test_bus import Observatory

JUNK = (b"", b"\xc1", b"\x93\x01", b"junk", b"\x95\xa1a\x80\xa0\xa0", b"\x95\xc0\x80\xa0\xa0\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", bytes(100_000))


@pytest.fixture
def bus(broker_rig: BrokerRig) -> Bus:
    return broker_rig.bus()


def asked(stub: Observatory) -> str:
    try:
        return stub.where()
    except PilviError as error:
        return type(error).__name__


# -- outages ---------------------------------------------------------------------------------------


def test_the_broker_may_end_and_come_back(broker_rig: BrokerRig) -> None:
    here, there = broker_rig.bus(), broker_rig.agent("north")
    north, slow, control = Observatory("north"), Observatory("slow"), Observatory("control")
    serve(there, "sky", north, host="north")
    serve(here, "told", control)
    serve(here, "slow", slow)
    stub = remote(here, Observatory, "sky", host="north", timeout=10)
    assert stub.where() == "north"
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(remote(here, Observatory, "slow", timeout=300).wait)
        time.sleep(0.2)
        began = time.monotonic()
        broker_rig.kill()
        with pytest.raises(Unavailable, match="the message bus went away"):
            pending.result(10)
        assert time.monotonic() - began < 10
        slow.hold.set()
    began = time.monotonic()
    for bus in (here, there):
        until(lambda bus=bus: asked(remote(bus, Observatory, "told", timeout=30)) == "Unavailable")
        cast_to(bus, Observatory, "told", "note", "while it is away")
        cast_to(bus, Observatory, "told", "note", "while it is away", everyone=True)
    late = Observatory("late")
    stop = serve(here, "late", late)  # served while nobody can be told of it
    assert time.monotonic() - began < 10
    broker_rig.start_again()
    until(lambda: asked(stub) == "north", 60)
    until(lambda: asked(remote(there, Observatory, "told", timeout=10)) == "control", 60)
    until(lambda: asked(remote(here, Observatory, "late", timeout=10)) == "late", 60)
    cast_to(here, Observatory, "sky", "note", "after", everyone=True)
    until(lambda: north.told == ["after"])
    assert control.told == []
    stop()
    with pytest.raises(Unavailable, match="Nobody answers"):
        remote(here, Observatory, "late").where()


def test_nobody_at_the_broker_s_address_is_told_in_time(broker_rig: BrokerRig) -> None:
    port = take_port()
    scheme = broker_rig.url.partition(":")[0]
    began, before = time.monotonic(), set(threading.enumerate())
    with pytest.raises(Unavailable, match=rf"^No (NATS|RabbitMQ) server answers at {scheme}://127\.0\.0\.1:{port}: .+\.$"):
        connect(BusSettings(url=f"{scheme}://127.0.0.1:{port}"), host="north", patience=1)
    assert time.monotonic() - began < 8
    until(lambda: not set(threading.enumerate()) - before)


def test_one_of_several_addresses_is_enough(broker_rig: BrokerRig) -> None:
    port = take_port()
    bus = connect(
        BusSettings(url=f"{broker_rig.url},127.0.0.1:{port}", user=broker_rig.user, password=broker_rig.password), host="north", patience=30
    )
    serve(bus, "sky", Observatory("north"))
    assert remote(bus, Observatory, "sky").where() == "north"
    bus.close()


# -- who is who ------------------------------------------------------------------------------------


def test_a_wrong_password_is_told_without_it(broker_rig: BrokerRig, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("wr0ng\n")
    for settings in (
        BusSettings(url=broker_rig.url, user=broker_rig.user, password="wr0ng"),
        BusSettings(url=broker_rig.url, user=agent_user("north"), password_file=str(tmp_path / "password")),
        BusSettings(url=broker_rig.url, user="nobody", password="wr0ng"),
    ):
        with pytest.raises(Invalid, match=r"^bus\.user: .* does not know") as failed:
            connect(settings, host="north")
        assert "wr0ng" not in failed.value.message + repr(settings)


def test_the_password_may_be_in_a_file(broker_rig: BrokerRig, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(broker_rig.password + "\n")
    connect(BusSettings(url=broker_rig.url, user=broker_rig.user, password_file=str(tmp_path / "password")), host="north").close()


def test_an_agent_may_speak_to_its_topics_only(broker_rig: BrokerRig, bus: Bus) -> None:
    for topic in ("told", "secret"):
        serve(bus, topic, Observatory("control"))
    south = Observatory("south")
    serve(broker_rig.agent("south"), "sky", south, host="south")
    agent = broker_rig.agent("north")
    assert remote(agent, Observatory, "told").who() == "north"
    began = time.monotonic()
    for topic, host in (("secret", ""), ("sky", "south"), ("sky", "")):
        with pytest.raises(Forbidden, match="does not let"):
            remote(agent, Observatory, topic, host=host, timeout=30).where()
    assert time.monotonic() - began < 10
    cast_to(agent, Observatory, "sky", "note", "hello", host="south")
    cast_to(agent, Observatory, "sky", "note", "hello", everyone=True)
    assert remote(agent, Observatory, "told").who() == "north"  # and goes on to speak where it may
    assert remote(bus, Observatory, "sky", host="south").where() == "south"
    assert south.told == []


def test_an_agent_does_not_answer_for_another_host_or_for_anyone(broker_rig: BrokerRig, bus: Bus) -> None:
    serve(broker_rig.agent("north"), "sky", Observatory("north"), host="north")
    with pytest.raises(Unavailable, match="Nobody answers for sky"):
        remote(bus, Observatory, "sky").where()
    assert remote(bus, Observatory, "sky", host="north").where() == "north"


def test_nothing_forged_arrives(broker_rig: BrokerRig, bus: Bus) -> None:
    control, south = Observatory("control"), Observatory("south")
    for topic in ("told", "secret"):
        serve(bus, topic, control)
    serve(broker_rig.agent("south"), "sky", south, host="south")
    # each claims to be of the control plane
    data = msgspec.msgpack.encode(["note", {"word": "forged"}, "", "", 60.0])
    assert broker_rig.forge("north", "told.any", data) == []
    # under its own name, and in the message another
    stub = broker_rig.agent("north")
    for claimed in ("", "south"):
        data = msgspec.msgpack.encode(["note", {"word": "claimed"}, "", claimed, 60.0])
        broker_rig.forge_claim("north", "told.any", data)
    assert remote(stub, Observatory, "told").who() == "north"
    assert remote(bus, Observatory, "sky", host="south").where() == "south"
    time.sleep(0.2)
    assert (control.told, south.told) == ([], [])


def test_an_agent_cannot_listen_to_others(broker_rig: BrokerRig, bus: Bus) -> None:
    serve(bus, "told", Observatory("control"))
    serve(broker_rig.agent("south"), "sky", Observatory("south"), host="south")
    assert broker_rig.eavesdrop("north") == []


def test_the_user_of_one_host_is_of_no_use_on_another(broker_rig: BrokerRig) -> None:
    settings = BusSettings(url=broker_rig.url, user=agent_user("south"), password=broker_rig.passwords["south"])
    with pytest.raises(Invalid, match=r"bus\.user: host\.south is the user of another host; that of 'north' is host\.north"):
        connect(settings, host="north")


# -- junk ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", JUNK, ids=range(len(JUNK)))
def test_what_cannot_be_read_is_dropped_and_said_so(broker_rig: BrokerRig, bus: Bus, data: bytes) -> None:
    north = Observatory("north")
    serve(bus, "sky", north, host="north")
    for address in ("sky.any", "sky.host.north", "sky.all"):
        reply = msgspec.msgpack.decode(broker_rig.raw(address, data), type=Reply)
        assert reply.error
        assert remote(bus, Observatory, "sky", host="north").where() == "north"


def test_answers_that_come_twice_or_unasked_disturb_nobody(broker_rig: BrokerRig, bus: Bus) -> None:
    def ask() -> list[int]:
        return [value(bus.call("odd", said("any"))) for _ in range(30)]

    assert broker_rig.doubled("odd.any", ask) == [1] * 30
    serve(bus, "sky", Observatory("north"))
    stub = remote(bus, Observatory, "sky")
    assert [stub.take(bytes(count)) for count in range(30)] == list(range(30))


def test_an_answer_that_cannot_be_read_is_unavailable(broker_rig: BrokerRig, bus: Bus) -> None:
    with pytest.raises(Unavailable, match="could not be read"):
        broker_rig.doubled("odd.any", lambda: bus.call("odd", said("any")), b"\xc1")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilvi.kernel.bus.signs.FIRST", 0.05)
    monkeypatch.setattr("pilvi.kernel.bus.signs.EVERY", 0.1)
    monkeypatch.setattr("pilvi.kernel.bus.signs.AGAIN", 0.2)
    monkeypatch.setattr("pilvi.kernel.bus.signs.SILENCE", 1.0)


@pytest.mark.usefixtures("impatient")
def test_who_is_long_at_a_call_is_waited_for(broker_rig: BrokerRig, bus: Bus) -> None:
    slow = Observatory("north")
    serve(broker_rig.bus(), "sky", slow, threads=1)
    with ThreadPoolExecutor(2) as pool:
        asked = []
        for word in ("begun", "waiting"):
            asked.append(pool.submit(remote(bus, Observatory, "sky").wait_and_note, word))
            time.sleep(1.25)  # the first is at work before the second comes
        assert not any(one.done() for one in asked)
        slow.hold.set()
        for one in asked:
            one.result(20)
    assert slow.told == ["begun", "waiting"]


@pytest.mark.usefixtures("impatient")
def test_who_gives_no_sign_of_life_is_given_up(broker_rig: BrokerRig, bus: Bus) -> None:
    frozen = broker_rig.bus()
    serve(frozen, "sky", Observatory("north"), host="north")
    began = time.monotonic()
    frozen.loop.call_soon_threadsafe(time.sleep, 3.0)  # its process stands still
    with pytest.raises(Unavailable, match=r"^No sign of life from sky on host north for 1 s\.$"):
        remote(bus, Observatory, "sky", host="north").where()
    assert time.monotonic() - began < 2.5
    until(lambda: asked(remote(bus, Observatory, "sky", host="north")) == "north")  # and comes back


@pytest.mark.usefixtures("impatient")
def test_another_is_asked_when_one_gives_no_sign_of_life(broker_rig: BrokerRig, bus: Bus) -> None:
    frozen, lively = broker_rig.bus(), broker_rig.bus()
    serve(frozen, "sky", Observatory("frozen"))
    serve(lively, "sky", Observatory("lively"))
    thaw = threading.Event()
    frozen.loop.call_soon_threadsafe(thaw.wait, 30.0)
    try:
        assert [remote(bus, Observatory, "sky", patience=20).where() for _ in range(10)] == ["lively"] * 10
    finally:
        thaw.set()


def test_a_call_that_is_said_again_to_who_is_at_it_is_done_once(broker_rig: BrokerRig, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilvi.kernel.bus.signs.FIRST", 1.0)
    monkeypatch.setattr("pilvi.kernel.bus.signs.AGAIN", 0.1)
    slow = Observatory("north")
    serve(broker_rig.bus(), "sky", slow)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(remote(bus, Observatory, "sky").wait_and_note, "once")
        time.sleep(1.5)
        slow.hold.set()
        asked.result(20)
    assert remote(bus, Observatory, "sky").where() == "north"
    assert slow.told == ["once"]


def test_what_waits_is_bounded_also_with_a_server_that_hangs(broker_rig: BrokerRig, bus: Bus) -> None:
    hung = Observatory("hung")
    serve(bus, "sky", hung, threads=1)
    outcomes: list[str] = []

    def flood() -> None:
        for _ in range(400):
            try:
                remote(bus, Observatory, "sky", timeout=0.0).wait_and_note("x")
            except Unavailable as error:
                outcomes.append(error.message)

    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        for one in [pool.submit(flood) for _ in range(8)]:
            one.result(60)
    assert len(outcomes) == 3200
    assert time.monotonic() - began < 30
    hung.hold.set()
    until(lambda: asked(remote(bus, Observatory, "sky", timeout=5)) == "hung")
    assert len(hung.told) < 100  # they were too late, and nobody began them


# -- TLS -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("authority"))
    made.ensure()
    return made


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("stranger"))
    made.ensure()
    made.ensure_own("localhost", ["127.0.0.1"])
    return made


def ask_oneself(settings: BusSettings) -> str:
    bus = connect(settings, host="north", patience=3)
    try:
        serve(bus, "sky", Observatory("over TLS"))
        return remote(bus, Observatory, "sky").where()
    finally:
        bus.close()


@pytest.mark.parametrize("mutual", [False, True], ids=["server", "mutual"])
def test_nats_over_tls(tmp_path: Path, authority: Authority, stranger: Authority, mutual: bool) -> None:
    cert, key = map(str, authority.ensure_own("localhost", ["127.0.0.1"]))
    port = take_port()
    serving = BusSettings(serve=f"127.0.0.1:{port}", ca_file=str(authority.ca_file), cert_file=cert, key_file=key, verify_clients=mutual)
    broker = Broker(serving, tmp_path / "nats", TOPICS)
    broker.ensure()
    try:
        assert broker.url == f"tls://127.0.0.1:{port}"
        assert ask_oneself(broker.client()) == "over TLS"
        agent = BusSettings(url=broker.url, user=agent_user("north"), password=broker.ensure_user("north"), ca_file=str(authority.ca_file))
        if mutual:
            with pytest.raises(Unavailable):
                connect(agent, host="north", patience=2)
            agent = msgspec.structs.replace(agent, cert_file=str(stranger.folder / "cert.pem"), key_file=str(stranger.folder / "key.pem"))
            with pytest.raises(Unavailable):
                connect(agent, host="north", patience=2)
            agent = msgspec.structs.replace(agent, cert_file=cert, key_file=key)
        connect(agent, host="north").close()
        with pytest.raises(Unavailable, match="certificate verify failed"):
            connect(msgspec.structs.replace(agent, ca_file=str(stranger.ca_file)), host="north", patience=2)
        with pytest.raises(Unavailable, match="certificate verify failed"):
            connect(msgspec.structs.replace(agent, ca_file=""), host="north", patience=2)
    finally:
        broker.stop()


def test_the_password_is_not_said_to_who_does_not_encrypt() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        heard: list[bytes] = []

        def pretend() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    client.settimeout(1)
                    client.sendall(b'INFO {"server_id":"x","version":"2.9.0","max_payload":1048576,"auth_required":true,"headers":true}\r\n')
                    try:
                        while data := client.recv(4096):
                            heard.append(data)
                            client.sendall(b"PONG\r\n")
                    except OSError:
                        pass

        thread = threading.Thread(target=pretend)
        thread.start()
        with pytest.raises(Unavailable, match="does not encrypt"):
            connect(BusSettings(url=f"tls://127.0.0.1:{listener.getsockname()[1]}", user="u", password="s3cret"), host="north", patience=1)
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    assert b"s3cret" not in b"".join(heard)


@pytest.fixture
def rabbit_with_tls(rabbit_folder: Path, tmp_path: Path, authority: Authority) -> Iterator[brokers.Rabbitmq]:
    cert, key = authority.ensure_own("localhost", ["127.0.0.1"])
    users = definitions({}, {"control": "secret"}, TOPICS)
    with alone(rabbit_folder.parent / "rabbitmq.lock"), brokers.rabbitmq(tmp_path / "rabbitmq", users, (cert, key, authority.ca_file)) as running:
        yield running


def test_rabbitmq_over_tls(rabbit_with_tls: brokers.Rabbitmq, authority: Authority, stranger: Authority) -> None:
    cert, key = map(str, authority.ensure_own("localhost", ["127.0.0.1"]))
    good = BusSettings(url=rabbit_with_tls.tls_url, user="control", password="secret", ca_file=str(authority.ca_file), cert_file=cert, key_file=key)
    assert ask_oneself(good) == "over TLS"
    with pytest.raises(Unavailable):
        connect(msgspec.structs.replace(good, cert_file="", key_file=""), host="north", patience=2)
    with pytest.raises(Unavailable, match="certificate verify failed"):
        connect(msgspec.structs.replace(good, ca_file=str(stranger.ca_file)), host="north", patience=2)


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (BusSettings(url="smoke://hill"), "bus.url: there is no bus for 'smoke://hill'."),
        (BusSettings(url=""), "bus.url: there is no bus for ''."),
        (BusSettings(url="nats://"), "names no host"),
        (BusSettings(url="nats://a:b"), "'a:b' is not an address"),
        (BusSettings(url="amqp://a,:5672"), "names no host"),
        (BusSettings(url="nats://me:s3cret@a"), "bus.url: the user belongs into bus.user"),
        (BusSettings(url="nats://a", password_file="/nowhere/at/all"), "bus.password_file: /nowhere/at/all cannot be read: No such file"),
        (BusSettings(url="tls://a", ca_file="/nowhere/at/all"), "bus.ca_file: /nowhere/at/all cannot be used"),
        (BusSettings(url="amqps://a", cert_file="/nowhere/at/all"), "bus.cert_file: /nowhere/at/all cannot be used"),
    ],
    ids=lambda part: part.url if isinstance(part, BusSettings) else "",
)
def test_wrong_settings_are_named(settings: BusSettings, says: str) -> None:
    with pytest.raises(Invalid) as failed:
        connect(settings, host="north", patience=1)
    assert says in failed.value.message
    assert "s3cret" not in failed.value.message


def test_clouds_on_one_broker_do_not_hear_each_other(broker_rig: BrokerRig) -> None:
    settings = BusSettings(url=broker_rig.url, user=broker_rig.user, password=broker_rig.password)
    buses = [connect(msgspec.structs.replace(settings, prefix=prefix), host="north") for prefix in ("", "one", "t.w*o >")]
    served = [Observatory(str(number)) for number in range(3)]
    for bus, one in zip(buses, served):
        serve(bus, "sky", one, host="north")
    assert [remote(bus, Observatory, "sky", host="north").where() for bus in buses for _ in range(5)] == [*"0" * 5, *"1" * 5, *"2" * 5]
    for number, bus in enumerate(buses):
        cast_to(bus, Observatory, "sky", "note", str(number), everyone=True)
    until(lambda: [one.told for one in served] == [["0"], ["1"], ["2"]])
    for bus in buses:
        bus.close()
    with pytest.raises(Invalid, match=r"bus\.prefix"):
        connect(msgspec.structs.replace(settings, prefix="x" * 43), host="north")
