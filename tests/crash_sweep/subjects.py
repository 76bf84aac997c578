"""All that can be swept, and how many second cuts follow each cut point there."""

from typing import Final

from tests.crash_sweep.agent import AGENT
from tests.crash_sweep.controller import CONTROLLER, PAGES, STORE
from tests.crash_sweep.enrolment import ENROLMENT
from tests.crash_sweep.firmware import FIRMWARE
from tests.crash_sweep.sweep import Subject

SUBJECTS: Final[dict[str, Subject]] = {
    one.name: one for one in (AGENT, ENROLMENT, FIRMWARE, CONTROLLER, STORE, PAGES)
}
# A controller does few durable things, so nearly every pair of them is cut; elsewhere a sample.
SECONDS: Final = {
    "agent": 3, "enrolment": 100, "firmware": 2, "controller": 20, "store": 3, "pages": 0,
}  # fmt: skip
