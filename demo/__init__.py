"""The whole voyage on one machine: broker, controller, 12 agents, a gateway with a
microcontroller, and a telemetry consumer that uses nothing of ours.

`python -m demo` (or `make demo`) runs it; `voyages` says what happens, `harbour` starts the
programs, `consumer` is the stranger, `attacker` the thief.
"""
