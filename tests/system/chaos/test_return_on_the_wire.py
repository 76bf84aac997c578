"""The agent's own link comes back by chance: real connections, one broker, one cut for all."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from wherry_agent.config import LinkConfig
from wherry_agent.shell.link import Callbacks, MqttLink
from wherry_protocol.messages.enrolment import BrokerLogin

from tests.system.agents import broker, wait_until
from tests.system.chaos.proxy import ALL, Proxy

COUNT = 20
LOW_S, HIGH_S = 0.2, 1.0


@pytest.fixture
def proxy(mosquitto: str, tmp_path: Path) -> Iterator[Proxy]:
    with broker(mosquitto, tmp_path / "broker") as port, Proxy(port) as one:
        yield one


def test_links_that_were_cut_at_once_come_back_one_by_one(proxy: Proxy):
    names = [f"gw{n}" for n in range(COUNT)]
    with ExitStack() as stack:
        for name in names:
            link = made(name, proxy.port)
            link.start()
            stack.callback(link.stop)
        wait_until(lambda: proxy.names() == set(names), "all are connected")
        proxy.cut(ALL)
        wait_until(lambda: all(proxy.accepted[name] == 2 for name in names), "all are back")
        moments = sorted(proxy.accepted_s[name] for name in names)
    # Evenly over 0.6 s; in step they would be there within a hundredth of one.
    assert moments[-1] - moments[0] > 0.25


def made(name: str, port: int) -> MqttLink:
    login = BrokerLogin(host="127.0.0.1", port=port, username=name, password="x")
    config = LinkConfig(reconnect_s_min=LOW_S, reconnect_s_max=HIGH_S)
    heard = Callbacks(lambda _number: None, lambda: None, lambda *_: None)
    return MqttLink(
        login, f"acme/d/{name}", config, f"presence/{name}", lambda *_: b"", 0, heard
    )  # fmt: skip
