"""The fleet's service: what arrives from devices and operators, and what follows from it.

`Fleet` is synchronous and has no clock, socket or thread of its own; its only I/O is the store
and the vault. It runs in `wherry serve`, in tests in virtual time, and in a simulator.
"""

from wherry_controller.fleet.organization import Organization, Outbound
from wherry_controller.fleet.service import Fleet, Inbound

__all__ = ["Fleet", "Inbound", "Organization", "Outbound"]
