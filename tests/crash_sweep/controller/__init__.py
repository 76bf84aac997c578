"""The controller's subjects: the real fleet service, store and vault; twins around them."""

from tests.crash_sweep.controller.subject import CONTROLLER, PAGES, STORE

__all__ = ["CONTROLLER", "PAGES", "STORE"]
