"""Crash sweeps: every scenario is stopped at every point, started again, and must end as without.

Words: a *subject* (agent, firmware, controller) has *scenarios*, each one small function that
yields legs; a *cut* stops it at one durable operation in one *way*. A second cut falls into the
recovery from the first. `make crash-sweep` plays all of them; `sweep.py` says how.
"""
