"""Sources that feed a model's loop by themselves: replayed files."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from wherry_native.loop import Loop
from wherry_protocol.errors import WherryError
from wherry_protocol.names import SELF

from wherry_agent.config import SourceConfig
from wherry_agent.shell.loop_host import Bundle
from wherry_agent.shell.sources.replay import Samples, read_samples

LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class Feeds:
    """Replays by model. The loop keeps a replay over swaps; only its bytes may have to change."""

    samples: Mapping[str, Samples]
    running: dict[str, bytes] = field(default_factory=dict)

    def swapped(self, model: str, loop: Loop, bundle: Bundle | None) -> None:
        """Another bundle serves: feed it in its own quantization."""
        samples = self.samples.get(model)
        if samples is None or bundle is None:
            return
        try:
            data, sample_size = samples.bytes_for(bundle.manifest.contract.inputs)
        except WherryError as error:
            LOG.error("source of %s: %s", model, error)
            return
        if self.running.get(model) is not data:
            loop.stop_replay()
            loop.replay(data, sample_size, samples.period_us)
            self.running[model] = data


def open_feeds(sources: tuple[SourceConfig, ...]) -> Feeds:
    """The files of all sources of the agent's own models. Raises OSError, WherryError."""
    return Feeds({one.model: read_samples(one) for one in sources if one.unit == SELF})


def samples_of(sources: tuple[SourceConfig, ...], unit: str) -> Samples | None:
    """The file that feeds a microcontroller, if one does. Raises OSError, WherryError."""
    mine = [source for source in sources if source.unit == unit]
    return read_samples(mine[0]) if mine else None
