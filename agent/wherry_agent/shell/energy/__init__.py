"""Power sensors behind one function type: the integral so far and the time in, the next one out.

`find_sensor` chooses hwmon (INA2xx) or RAPL as the configuration says; `Meter` reads it.
"""

from wherry_agent.shell.energy.meter import Meter, Sensor, find_sensor

__all__ = ["Meter", "Sensor", "find_sensor"]
