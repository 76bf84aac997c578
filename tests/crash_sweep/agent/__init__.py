"""The agent's subject: the real core, event loop, record, blob store and spool on a swept disk."""

from tests.crash_sweep.agent.subject import AGENT

__all__ = ["AGENT"]
