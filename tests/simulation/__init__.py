"""A whole fleet in one process, in virtual time, from one seed.

Real: the agent's core, event loop, blob store, record and spool; the controller's `Fleet` with
its rollouts, guards, store (SQLite) and vault; every codec and every signature. Twins: clock,
network, broker, disk, the two thin shells' threads, and the engine's loop (`ALWAYS_TWINS`);
where speed is asked for, those in `twins` too.

    python -m tests.simulation.run --seeds 100 --devices 12 --first-seed 0
"""
