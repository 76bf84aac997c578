"""Plans: what a rollout file says, as data that never changes while the rollout goes on.

`plan` reads a whole file; `stages`, `strategies`, `schedule` and `pace` are its parts.
"""
