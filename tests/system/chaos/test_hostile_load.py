"""Past every limit of the agent: memory, disk, wear, bandwidth and its door stay bounded, and it
serves on (DESIGN, invariant 9). A real agent process; the broker and the clients are hostile."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from urllib.error import HTTPError

import pytest
from wherry_protocol.errors import Code
from wherry_protocol.messages.rpc import Verb

from tests.agent.bundles import INPUT_BYTES
from tests.system.agents import wait_until
from tests.system.chaos import gauge
from tests.system.chaos.hostile import NAME, Strait, strait
from tests.system.chaos.mqtt import Publication
from tests.system.chaos.proxy import DOWN

MIB = 1 << 20
GROWTH_BYTES_MAX = 24 * MIB  # over what the agent has when nobody is hostile
CONNECTIONS_MAX = 8
SPOOL_BYTES_MAX, STORAGE_BYTES_MAX = 64 * 1024, MIB
EVENTS_PER_MINUTE = 600
FLOOD_BYTES = 120 * MIB
LIMITS = f"""\
spool_bytes_max = {SPOOL_BYTES_MAX}
storage_bytes_max = {STORAGE_BYTES_MAX}
revisions_per_minute_max = 20
[http]
port = 0
request_s_max = 1.0
connections_max = {CONNECTIONS_MAX}
body_bytes_max = 65536
"""


@pytest.fixture(scope="module")
def sea(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strait]:
    with strait(mosquitto, tmp_path_factory.mktemp("load"), limits=LIMITS) as one:
        yield one


@pytest.fixture(autouse=True)
def _honest_at_first(sea: Strait) -> None:
    sea.be_honest()
    sea.ashore.heard["event"].clear()


def reading(sea: Strait) -> gauge.Reading:
    process = sea.agent.process
    assert process is not None
    return gauge.read(process.pid, sea.agent.state_dir, 0.0)


def written_bytes(sea: Strait) -> int:
    """What the process has had written to its disk, from its start."""
    assert sea.agent.process is not None
    lines = Path(f"/proc/{sea.agent.process.pid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


def stored_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # it has just been replaced
            continue
    return total


def assert_bounded(sea: Strait, before: gauge.Reading) -> None:
    """It serves, and has not grown."""
    assert sea.serving()
    after = reading(sea)
    assert after.rss_bytes - before.rss_bytes < GROWTH_BYTES_MAX
    assert after.thread_count <= before.thread_count + CONNECTIONS_MAX


# --- the network


def test_a_packet_of_a_hundred_megabytes_is_cut_off_and_not_taken_in(sea: Strait):
    before = reading(sea)
    accepted = sea.proxy.accepted[NAME]
    sea.send(b"\x30\xff\xff\xff\x2f" + bytes(4 * MIB))
    wait_until(lambda: sea.proxy.accepted[NAME] > accepted, "it connects again", 60)
    assert "at most" in sea.agent.log
    assert_bounded(sea, before)


@pytest.mark.parametrize("leaf", ["desired", "rpc", "ack", "chunk"])
def test_a_flood_of_large_messages_waits_in_the_network_and_not_in_memory(sea: Strait, leaf: str):
    """100 MB at QoS 0, as fast as the agent takes them."""
    topics = sea.director.topics
    topic = {"ack": topics.ack(NAME), "chunk": topics.chunk(bytes(32), 0)}.get(leaf)
    packet = Publication(topic or sea.topic(leaf), Random(leaf).randbytes(100_000)).packet()
    before = reading(sea)
    for _ in range(50):
        sea.send(packet.encoded() * 20)
    assert_bounded(sea, before)
    wait_until(lambda: reading(sea).rss_bytes - before.rss_bytes < GROWTH_BYTES_MAX, "it stays so")


def test_a_flood_of_messages_that_cost_much_waits_in_the_network_and_not_in_memory(sea: Strait):
    """A large document, signed and known, takes the agent longer than the network brings it."""
    keys = {n.to_bytes(32, "big"): bytes(40) for n in range(2000)}
    large = sea.director.sealed(sea.director.desired(sea.agent.device, [], blob_keys=keys))
    packet = Publication(sea.topic("desired"), large).packet().encoded()
    before = reading(sea)
    highest = [0]
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.01):
            highest[0] = max(highest[0], reading(sea).rss_bytes)

    watching = threading.Thread(target=watch)
    watching.start()
    for _ in range(20):
        sea.send(packet * (FLOOD_BYTES // len(packet) // 20))
    is_over.set()
    watching.join()
    assert highest[0] - before.rss_bytes < GROWTH_BYTES_MAX
    assert_bounded(sea, before)


def test_a_broker_that_acknowledges_nothing_does_not_fill_the_memory(sea: Strait):
    """Every refusal is an event that nobody takes; they go to the spool, and that has a limit."""
    before = reading(sea)
    sea.meddle(lambda said, _way: [said] if "/b/" in said.topic else [])
    sea.hostile.swallows_acknowledgements = True
    for _ in range(20):
        sea.forge(sea.topic("rpc"), b"\xff" * 50, count=200)
    spool = sea.agent.state_dir / "data" / "spool"
    wait_until(lambda: list(spool.iterdir()), "reports go to the spool", 60)
    assert stored_bytes(spool) <= SPOOL_BYTES_MAX * 1.5
    assert_bounded(sea, before)
    sea.hostile.swallows_acknowledgements = False
    sea.be_honest()
    sea.proxy.cut(NAME)
    wait_until(lambda: not list(spool.iterdir()), "the spool is delivered", 90)


# --- wear and bandwidth


def test_a_flood_of_signed_revisions_does_not_wear_the_disk(sea: Strait):
    device = sea.agent.device
    sea.assign(next(iter(sea.director.bundles.values())))
    wait_until(lambda: sea.reported.revision == sea.director.revision, "the last one is followed")
    before = written_bytes(sea)
    documents = [sea.director.desired(device) for _ in range(300)]
    for one in documents:
        sea.ashore.say(sea.topic("desired"), sea.director.sealed(one))
    wait_until(lambda: Code.OVERLOADED in sea.codes(), "it says so", 60)
    written = written_bytes(sea) - before
    assert written < 300 * 1024, f"{written} bytes for 300 documents"
    wait_until(
        lambda: sea.reported.revision == sea.director.revision, "the newest has its turn", 60
    )
    assert sea.serving() == "1.0.0"


def test_a_flood_of_bad_messages_makes_no_flood_of_events(sea: Strait):
    began_s = time.monotonic()
    topic, count = sea.director.topics.ack(NAME), 4000
    for _ in range(count // 200):
        sea.forge(topic, b"\xa0", count=200)
    follows = sea.director.request(sea.agent.device, Verb.STATUS, expires_s=int(time.time()) + 300)
    replies = len(sea.ashore.heard["reply"])
    sea.ashore.say(sea.topic("rpc"), follows)
    sea.ashore.wait_for(lambda: len(sea.ashore.heard["reply"]) > replies, "what came after it", 60)
    minutes = (time.monotonic() - began_s) / 60
    bad = [one for one in sea.ashore.heard["event"] if one.code is Code.MALFORMED]
    assert len(bad) <= EVENTS_PER_MINUTE * (1 + minutes) < count


# --- the disk


def test_the_spool_holds_its_limit_drops_the_oldest_and_says_how_many(sea: Strait):
    ack_topic = sea.director.topics.ack(NAME)
    spool = sea.agent.state_dir / "data" / "spool"
    sea.meddle(lambda said, way: [] if (way, said.topic) == (DOWN, ack_topic) else [said])
    largest = 0

    def is_dropping() -> bool:
        nonlocal largest
        sea.forge(sea.topic("desired"), Random(largest).randbytes(200), count=20)
        sea.forge(sea.topic("rpc"), Random(largest).randbytes(200), count=20)
        largest = max(largest, stored_bytes(spool))
        return bool(sea.agent.get("/status")["reports"]["dropped"])

    wait_until(is_dropping, "the oldest give way", 120)
    assert largest <= SPOOL_BYTES_MAX * 1.5, "the newest segment, before the oldest goes"
    wait_until(lambda: stored_bytes(spool) <= SPOOL_BYTES_MAX, "and then it is gone", 60)
    sea.be_honest()
    sea.proxy.cut(NAME)
    wait_until(lambda: sea.reported.reports_dropped > 0, "the director knows how many", 60)
    wait_until(lambda: not list(spool.iterdir()), "the rest is released", 90)


def test_a_bundle_above_the_storage_limit_is_refused_and_nothing_of_it_stays(sea: Strait):
    bundle = sea.made("2.0.0", seed=2, ballast_rows=60_000)
    assert sum(map(len, bundle.blobs.values())) > STORAGE_BYTES_MAX
    sea.assign(bundle)
    wait_until(lambda: sea.model.code is Code.OVER_STORAGE, lambda: f"refused; {sea.model}", 60)
    assert stored_bytes(sea.agent.state_dir / "data") <= STORAGE_BYTES_MAX
    assert sea.serving() == "1.0.0"


# --- the door


def address(sea: Strait) -> tuple[str, int]:
    host, port = (sea.agent.state_dir / "http-address").read_text().strip().split(":")
    return host, int(port)


def test_slow_clients_keep_the_door_shut_no_longer_than_a_request_may_take(sea: Strait):
    before = reading(sea)
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(address(sea))) for _ in range(60)]
        for one in slow[:CONNECTIONS_MAX]:
            one.sendall(b"POST /inference HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{")
        wait_until(lambda: is_answered(sea), "the door is open again, with all of them there", 30)
        assert reading(sea).thread_count <= before.thread_count + CONNECTIONS_MAX
    assert_bounded(sea, before)


def is_answered(sea: Strait) -> bool:
    try:
        return bool(sea.agent.get("/inference", {"input_q": [1] * INPUT_BYTES}))
    except OSError:
        return False


def test_a_huge_body_is_refused_unread(sea: Strait):
    before = reading(sea)
    with socket.create_connection(address(sea)) as one:
        one.sendall(b"POST /inference HTTP/1.1\r\nContent-Length: 4000000000\r\n\r\n")
        assert b" 413 " in one.recv(4096)
    assert_bounded(sea, before)


def test_a_flood_of_inferences_is_answered_or_refused_and_the_loop_goes_on(sea: Strait):
    before, asked = reading(sea), 40
    answered: list[bool] = []  # appending is atomic

    def ask() -> None:
        for _ in range(asked):
            try:
                sea.agent.get("/inference", {"input_q": [1] * INPUT_BYTES})
                answered.append(True)
            except (HTTPError, OSError):
                answered.append(False)

    crowd = [threading.Thread(target=ask) for _ in range(3 * CONNECTIONS_MAX)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert len(answered) == asked * len(crowd)
    assert True in answered
    assert_bounded(sea, before)
