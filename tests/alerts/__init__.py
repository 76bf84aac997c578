"""Alerts, routes and baselines: the pure parts."""
