"""What the controller decides: pure modules without clock, file, socket or randomness.

`rollouts`, `selector`, `subset` and `guard` decide about devices; the rest serves the fleet.
"""
