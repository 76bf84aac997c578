"""The fleet: store, registry, rollouts, gates, HTTP API and the operator's command line.

`core` decides and is pure; the rest is shell; `main` is the `wherry` command.
"""
