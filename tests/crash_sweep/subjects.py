"""All that can be swept, and how many second cuts follow each cut point there."""

from typing import Final

from tests.crash_sweep.agent import AGENT
from tests.crash_sweep.controller import CONTROLLER, PAGES, STORE
from tests.crash_sweep.firmware import FIRMWARE
from tests.crash_sweep.sweep import Subject

SUBJECTS: Final[dict[str, Subject]] = {
    one.name: one for one in (AGENT, FIRMWARE, CONTROLLER, STORE, PAGES)
}
# Every place in the recovery of a controller; elsewhere those that matter most and a sample.
SECONDS: Final = {"agent": 4, "firmware": 2, "controller": 100, "store": 4, "pages": 0}
