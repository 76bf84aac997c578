"""The real event loop; the log is told of each effect, before and after."""

from typing import TYPE_CHECKING

from wherry_agent.core.effects import Effect, LoadCandidate, Persist, Swap
from wherry_agent.shell.runtime import Runtime

if TYPE_CHECKING:
    from tests.crash_sweep.agent.ship import Bay


class WatchedRuntime(Runtime):
    """`bay` is the device that it runs."""

    bay: "Bay"

    def _do(self, effect: Effect) -> None:
        log = self.bay.log
        if isinstance(effect, Persist):
            log.begun(effect.record)
            log.check_bytes(self.bay, effect.record)
        elif isinstance(effect, Swap):
            log.check_swap(effect)
        elif isinstance(effect, LoadCandidate):
            log.check_install(self.bay, effect)
        super()._do(effect)
        if isinstance(effect, Persist):
            log.relied(effect.record)
