"""A microcontroller behind this agent, as one more unit: MCUmgr over a serial port.

`McuHost` takes the same effects as the agent's own loops and answers with the same inputs.
"""

from wherry_agent.gateway.unit import McuHost, Surroundings

__all__ = ["McuHost", "Surroundings"]
