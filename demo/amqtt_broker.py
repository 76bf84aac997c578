"""The demo's broker where there is no mosquitto: amqtt, with the logins and rights of `wherry`.

    python -m demo.amqtt_broker FOLDER PORT

FOLDER holds `passwd` and `acl` as the controller writes them for mosquitto; they are read again
when they change, so a new device is let in at once and a revoked one is not served any more.

amqtt 0.12 speaks MQTT 3.1.1 and keeps everything in memory. Three of its habits are corrected
here, each where it stands (docs/adr/0021): it iterates over subscriptions while others subscribe,
it gives everybody's retained messages to whoever reconnects, and it does not ask for rights
before it gives retained messages. For the demo only: use mosquitto for a fleet.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amqtt.broker import Broker
from amqtt.contexts import Action, BaseContext
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

READ, WRITE = "read", "write"
RIGHTS = {"read": (READ,), "write": (WRITE,), "readwrite": (READ, WRITE)}


def is_password(password: str, kept: str) -> bool:
    """Whether `kept` ($7$iterations$salt$hash, PBKDF2-HMAC-SHA512) is of that password."""
    try:
        _, kind, iterations, salt, digest = kept.split("$")
        made = hashlib.pbkdf2_hmac(
            "sha512", password.encode(), base64.b64decode(salt), int(iterations)
        )
        return kind == "7" and hmac.compare_digest(made, base64.b64decode(digest))
    except (ValueError, binascii.Error):
        return False


def matches(topic: str, topic_filter: str) -> bool:
    """MQTT 3.1.1 §4.7, for topics that do not begin with `$`."""
    wanted, given = topic_filter.split("/"), topic.split("/")
    for position, level in enumerate(wanted):
        if level == "#":
            return True
        if position >= len(given) or level not in ("+", given[position]):
            return False
    return len(wanted) == len(given)


@dataclass
class Logins:
    """What mosquitto's two files say, as they are now."""

    folder: Path
    passwords: dict[str, str] = field(default_factory=dict)
    rules: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    seen: tuple[tuple[int, int], ...] = ()
    known: dict[tuple[str, str, str], bool] = field(default_factory=dict)

    def refresh(self) -> None:
        """Read the files again if they were replaced."""
        paths = (self.folder / "passwd", self.folder / "acl")
        now = tuple((s.st_ino, s.st_mtime_ns) for s in (path.stat() for path in paths))
        if now != self.seen:
            texts = [path.read_text() for path in paths]
            lines = texts[0].splitlines()
            self.passwords = {u: h for u, _, h in (line.partition(":") for line in lines)}
            self.rules = read_rules(texts[1])
            self.known.clear()
            self.seen = now

    def let_in(self, username: str | None, password: str | None) -> bool:
        self.refresh()
        kept = self.passwords.get(username or "")
        return kept is not None and is_password(password or "", kept)

    def may(self, username: str | None, right: str, topic: str) -> bool:
        """Default deny."""
        self.refresh()
        key = (username or "", right, topic)
        if key not in self.known:
            filters = self.rules.get(key[:2], ())
            self.known[key] = key[0] in self.passwords and any(matches(topic, f) for f in filters)
        return self.known[key]


def read_rules(text: str) -> dict[tuple[str, str], list[str]]:
    """(user, right) -> topic filters. Raises ValueError at a line that is not ours."""
    rules: dict[tuple[str, str], list[str]] = {}
    user = ""
    for line in filter(None, text.splitlines()):
        word, _, rest = line.partition(" ")
        if word == "user":
            user = rest
        elif word == "topic" and user:
            access, _, topic_filter = rest.partition(" ")
            for right in RIGHTS[access]:
                rules.setdefault((user, right), []).append(topic_filter)
        else:
            raise ValueError(f"acl: {line!r} is neither `user` nor `topic`")
    return rules


class Snapshots(dict[str, list[Any]]):
    """A dict that may change while somebody iterates over it."""

    def items(self) -> Any:
        return [(key, list(value)) for key, value in super().items()]

    def __iter__(self) -> Any:
        return iter(list(super().__iter__()))


class Rights(BaseAuthPlugin, BaseTopicPlugin):
    """Who is let in, and which topics they may write and read."""

    @dataclass
    class Config:
        folder: str = ""

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self.logins = Logins(Path(self._get_config_option("folder")))

    async def authenticate(self, *, session: Session) -> bool:
        return self.logins.let_in(session.username, session.password)

    async def topic_filtering(
        self,
        *,
        session: Session | None = None,
        topic: str | None = None,
        action: Action | None = None,
    ) -> bool:
        """As mosquitto: anybody may subscribe to anything, and receives what is theirs to read."""
        if session is None or topic is None or action == Action.SUBSCRIBE:
            return session is not None
        return self.logins.may(session.username, WRITE if action == Action.PUBLISH else READ, topic)


class DemoBroker(Broker):
    """amqtt with its habits corrected."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
                "plugins": {"demo.amqtt_broker.Rights": {"folder": str(folder)}},
            }
        )
        self._subscriptions = Snapshots()

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """Retained messages follow a SUBSCRIBE only, and only those that may be read.

        amqtt also calls this when a session is resumed, at QoS 0 and for every subscription of
        the whole broker; our clients subscribe at QoS 1.
        """
        topic_filter, qos = subscription
        handler = self._get_handler(session)
        if qos == 0 or handler is None:
            return
        found = [m for t, m in self._retained_messages.items() if self._matches(t, topic_filter)]
        sent = [
            handler.mqtt_publish(m.topic, m.data, min(qos, m.qos or qos), retain=True)
            for m in found
            if await self._topic_filtering(session, topic=m.topic, action=Action.RECEIVE)
        ]
        await asyncio.gather(*sent, return_exceptions=True)


async def run(folder: Path, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    broker = DemoBroker(folder, port)
    await broker.start()
    print(f"amqtt running on port {port}", flush=True)
    await ended.wait()
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2])))
