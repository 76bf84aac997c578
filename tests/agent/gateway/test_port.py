"""Every failure of a serial link is one that the next question may mend."""

import os
import termios
import threading
from collections.abc import Iterator

import pytest
from wherry_agent.config import UnitConfig
from wherry_agent.gateway.port import SmpPort
from wherry_protocol.errors import Code, UnreachableError
from wherry_protocol.smp import statistics

pytest.importorskip("serial")


@pytest.fixture
def link() -> Iterator[str]:
    """A port with somebody at its other end who says nothing."""
    near, far = os.openpty()
    yield os.ttyname(far)
    os.close(far)
    os.close(near)


def test_a_port_that_goes_as_it_is_opened_is_asked_again(
    link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyserial's error of that moment is no OSError; it ended the gateway's thread, and nobody
    spoke with the microcontroller any more. No board goes at that moment when asked to, so the
    system call fails as it does then."""
    port = SmpPort(UnitConfig(name="mcu1", port=link, response_s_max=0.1), threading.Event())

    def gone(*_: object) -> None:
        raise termios.error(5, "Input/output error")

    with monkeypatch.context() as moment:
        moment.setattr(termios, "tcflush", gone)
        with pytest.raises(UnreachableError, match="Input/output error") as refused:
            port.ask(statistics())
    assert refused.value.code is Code.DEVICE_LINK
    with pytest.raises(UnreachableError) as silent:  # opened, and this time somebody was written to
        port.ask(statistics())
    assert "Input/output error" not in str(silent.value)
    port.close()
