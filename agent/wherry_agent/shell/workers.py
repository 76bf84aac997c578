"""One thread that runs jobs in order, beside the event loop."""

import logging
import queue
import threading
from collections.abc import Callable

LOG = logging.getLogger(__name__)
Job = Callable[[], None]


class Worker:
    """Jobs go in from any thread and are done one after the other."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def __call__(self, job: Job) -> None:
        self._jobs.put(job)

    def stop(self) -> None:
        """Finish what is queued."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception:  # a bug in one job must not end the others
                LOG.exception("a job failed")
