"""A hostile broker on a real wire: a proxy that speaks MQTT between one agent and a real broker.

`Hostile` replays, forges, reorders and withholds; the director and its broker behind it are
honest. Everything that passes is remembered, so that a test can play it again.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from wherry_protocol.bundle import Bundle
from wherry_protocol.errors import Code
from wherry_protocol.messages.reported import ModelReport, Outcome, Reported

from tests.agent.bundles import INPUT_BYTES
from tests.agent.director import Director
from tests.agent.live_director import LiveDirector
from tests.system.agents import AgentProcess, broker, enrolled, wait_until
from tests.system.chaos import mqtt
from tests.system.chaos.mqtt import Packet, Publication
from tests.system.chaos.proxy import ALL, DOWN, Fault, Passage, Proxy

NAME = "gw1"
FORGED_ID = 60_000  # message ids that the real broker does not reach here
AGENT_TOML = """\
[[source]]
model = "digits"
path = "samples.bin"
period_ms = 20
[link]
keepalive_s = 5
reconnect_s_min = 0.2
reconnect_s_max = 1.0
progress_s_max = {progress_s}
[limits]
events_per_minute_max = 600
spool_hold_s = 1.0
{limits}
"""
CLEAR_BYTES = 24  # so many bytes of a model in a row are no coincidence
Meddling = Callable[[Publication, str], list[Publication]]


@dataclass
class Hostile(Fault):
    """`meddle` makes of a publication what goes on instead of it: none, itself, or others."""

    meddle: Meddling = lambda said, _way: [said]
    seen: list[tuple[str, Publication]] = field(default_factory=list)
    swallows_acknowledgements: bool = False  # those of the broker for what the agent says

    async def carry(self, data: bytes, passage: Passage, way: str) -> bytes:  # noqa: ARG002
        out = []
        for packet in mqtt.Splitter().feed(data):
            said = mqtt.publication(packet)
            if said is None:
                if not _is_answer_to_forgery(packet) and not self._swallows(packet, way):
                    out.append(packet)
                continue
            self.seen.append((way, said))
            out += [one.packet() for one in self.meddle(said, way)]
        return b"".join(packet.encoded() for packet in out)

    def _swallows(self, packet: Packet, way: str) -> bool:
        is_answer = way == DOWN and packet.kind == mqtt.Kind.PUBACK
        return is_answer and self.swallows_acknowledgements

    def last(self, way: str, topic: str) -> Publication:
        """The last publication on a topic that passed."""
        return next(
            said for one_way, said in reversed(self.seen) if (one_way, said.topic) == (way, topic)
        )


def _is_answer_to_forgery(packet: Packet) -> bool:
    number = int.from_bytes(packet.body[:2], "big")
    return packet.kind == mqtt.Kind.PUBACK and number >= FORGED_ID


@dataclass
class Strait:
    """One agent that serves 1.0.0, its honest director, and the hostile broker between them."""

    director: Director
    ashore: LiveDirector
    proxy: Proxy
    hostile: Hostile
    agent: AgentProcess
    forged_count: int = 0

    def topic(self, leaf: str) -> str:
        return f"{self.director.topics.prefix}/d/{NAME}/self/{leaf}"

    def meddle(self, meddling: Meddling) -> None:
        self.hostile.meddle = meddling

    def be_honest(self) -> None:
        self.hostile.meddle = lambda said, _way: [said]

    def begin(self) -> None:
        """Nothing of the attack before: an honest broker, its events forgotten, 1.0.0 serving."""
        self.be_honest()
        self.ashore.heard["event"].clear()
        if self.serving() != "1.0.0":
            first = next(iter(self.director.bundles.values()))
            self.assign(first, attempt=self.director.revision)
            self.confirms(first)
            self.ashore.heard["event"].clear()

    def forge(self, topic: str, payload: bytes, count: int = 1) -> None:
        """The broker says this to the agent, at QoS 1."""
        data = b""
        for _ in range(count):
            self.forged_count += 1
            number = FORGED_ID + self.forged_count % 5000
            data += Publication(topic, payload, number).packet().encoded()
        self.send(data)

    def send(self, data: bytes) -> None:
        """Raw bytes to the agent, as the broker would send them."""
        self.proxy.to_client(NAME, data)

    # --- what must hold

    @property
    def reported(self) -> Reported:
        return self.ashore.reported[NAME, "self"]

    @property
    def model(self) -> ModelReport:
        return self.reported.models[0]

    def codes(self) -> set[Code]:
        """Of every event that the director has believed."""
        return {event.code for event in self.ashore.heard["event"]}

    def refuses(self, code: Code) -> None:
        """The refusal reaches the event topic, and the model serves on."""
        wait_until(
            lambda: code in self.codes(),
            lambda: f"{code.name} is told; {self.codes()} {self.agent.log[-2000:]}",
            60,
        )
        assert self.serving() == "1.0.0"

    def refuses_document(self, code: Code) -> None:
        """The same of a desired document, whose refusal `reported` tells too."""
        self.refuses(code)
        wait_until(
            lambda: self.reported.refusal_code is code,
            lambda: f"{code.name} is reported; {self.reported.refusal_code}",
            60,
        )

    def rejects(self, bundle: Bundle, code: Code) -> None:
        """A bundle that was assigned is told as rejected for this, and none of it is kept."""
        wait_until(
            lambda: (self.model.outcome, self.model.code) == (Outcome.REJECTED, code),
            lambda: f"rejected for {code.name}; {self.model} {self.agent.log[-2000:]}",
            60,
        )
        self.refuses(code)
        assert self.model.active is not None
        assert self.model.active.version == "1.0.0"
        assert bundle.digest not in self.mapped()

    def mapped(self) -> set[bytes]:
        """The manifests that the device has for what it serves or could go back to."""
        slots = (self.model.active, self.model.previous, self.model.candidate)
        return {slot.manifest_digest for slot in slots if slot is not None}

    def stored_bytes(self) -> int:
        """What the device's disk holds of bundles, whole or in part."""
        folder = self.agent.state_dir / "data"
        kept = [path for name in ("blobs", "parts", "images") for path in (folder / name).iterdir()]
        return sum(path.stat().st_size for path in kept)

    def serving(self) -> str:
        body = {"input_q": [1] * INPUT_BYTES}
        return str(self.agent.get("/inference", body)["version"])

    def confirms(self, bundle: Bundle) -> None:
        """The device ends up with this bundle, whatever was tried before."""
        wait_until(
            lambda: (
                self.model.outcome is Outcome.CONFIRMED
                and self.model.active is not None
                and self.model.active.manifest_digest == bundle.digest
            ),
            lambda: f"confirmed; {self.model} {self.agent.log[-2000:]}",
            60,
        )

    def reboot(self) -> None:
        """kill -9, and until it has reported again."""
        before = self.reported.boot_id
        self.agent.kill()
        self.agent.start()
        wait_until(lambda: self.reported.boot_id != before, "it reports again", 60)

    def assign(self, bundle: Bundle, **changes: object) -> None:
        self.ashore.assign(self.agent.device, [bundle], **changes)  # type: ignore[arg-type]

    def made(self, version: str = "1.1.0", seed: int = 2, **changes: object) -> Bundle:
        """A signed bundle whose chunks are on the broker."""
        bundle = self.director.made(version, seed=seed, **changes)
        self.ashore.publish(bundle)
        return bundle

    def follows(self, version: str, seed: int) -> Bundle:
        """With an honest broker the device installs what is assigned."""
        self.be_honest()
        bundle = self.made(version, seed=seed)
        self.assign(bundle)
        self.confirms(bundle)
        assert self.serving() == version
        return bundle

    def new_chunks(self, bundle: Bundle) -> dict[str, bytes]:
        """Those of what no other bundle shares: the device has the rest."""
        others = [one for one in self.director.bundles.values() if one.digest != bundle.digest]
        known = {digest for one in others for digest in one.blobs}
        new = {digest.hex() for digest in self.director.blobs_of(bundle) if digest not in known}
        chunks = self.director.chunks(bundle).items()
        return {topic: data for topic, data in chunks if new & set(topic.split("/"))}


@contextmanager
def strait(
    mosquitto: str, folder: Path, *, limits: str = "", progress_s: float = 60.0
) -> Iterator[Strait]:
    """Everything, ended whatever happens."""
    director = Director(now_s=int(time.time()))
    with broker(mosquitto, folder / "broker") as port, Proxy(port) as proxy:
        hostile = Hostile()
        proxy.trouble(ALL, hostile)
        ashore = LiveDirector(director, port)
        config = AGENT_TOML.format(limits=limits, progress_s=progress_s)
        agent = enrolled(folder / NAME, director, proxy.port, NAME, config)
        (folder / NAME / "samples.bin").write_bytes(bytes(range(INPUT_BYTES)))
        ashore.devices[NAME] = agent.device
        one = Strait(director, ashore, proxy, hostile, agent)
        try:
            agent.start()
            first = one.made("1.0.0", seed=1)
            wait_until(lambda: (NAME, "self") in ashore.reported, "the agent reports", 60)
            one.assign(first)
            wait_until(lambda: one.reported.models, "the model is reported", 60)
            one.confirms(first)
            yield one
        finally:
            agent.kill()
            ashore.close()


def is_chunk(said: Publication, way: str) -> bool:
    return way == DOWN and "/b/" in said.topic


# --- who listens


@dataclass
class Ear(Fault):
    """Every byte that passes, both ways."""

    heard: bytearray = field(default_factory=bytearray)

    async def carry(self, data: bytes, passage: Passage, way: str) -> bytes:  # noqa: ARG002
        self.heard += data
        return data


def in_clear(secret: bytes, heard: bytes) -> list[bytes]:
    """Parts of it that were heard, but for those of a few values only."""
    parts = [
        secret[at : at + CLEAR_BYTES] for at in range(0, len(secret) - CLEAR_BYTES, CLEAR_BYTES)
    ]
    return [part for part in parts if len(set(part)) > 8 and part in heard]
