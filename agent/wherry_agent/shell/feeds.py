"""Sources that feed a model's loop by themselves: replayed files.

A bundle gets the file in its own quantization when it is loaded; the loop replays numbers of
samples, and whoever answers one reads it in its own. So an input that waits over a swap is right.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from wherry_native.loop import Instance, Loop
from wherry_protocol.errors import WherryError
from wherry_protocol.manifest import Contract
from wherry_protocol.names import SELF

from wherry_agent.config import SourceConfig
from wherry_agent.shell.loop_host import Bundle
from wherry_agent.shell.sources.replay import Samples, read_samples

LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Feeds:
    """Replays by model; one runs from the first swap to a bundle that it fits, over all others."""

    samples: Mapping[str, Samples]
    running: set[str] = field(default_factory=set)

    def loading(self, model: str, contract: Contract, instance: Instance) -> None:
        """What the source feeds it, before it is in a loop; nothing where the file does not fit."""
        samples = self.samples.get(model)
        if samples is None:
            return
        try:
            instance.feed(*samples.bytes_for(contract.inputs))
        except WherryError as error:
            LOG.error("source of %s: %s", model, error)
            instance.feed(b"", 0)

    def swapped(self, model: str, loop: Loop, bundle: Bundle | None) -> None:
        """Another bundle serves, maybe the first."""
        if bundle is None or model in self.running or not bundle.instance.samples[0]:
            return
        loop.replay(*bundle.instance.samples, self.samples[model].period_us)
        self.running.add(model)


def open_feeds(sources: tuple[SourceConfig, ...]) -> Feeds:
    """The files of all sources of the agent's own models. Raises OSError, WherryError."""
    return Feeds({one.model: read_samples(one) for one in sources if one.unit == SELF})


def samples_of(sources: tuple[SourceConfig, ...], unit: str) -> Samples | None:
    """The file that feeds a microcontroller, if one does. Raises OSError, WherryError."""
    mine = [source for source in sources if source.unit == unit]
    return read_samples(mine[0]) if mine else None
