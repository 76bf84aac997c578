"""The device: receives signed models, swaps them under running inference loops, reports.

`core` decides and is pure; `shell` does the I/O; `main` wires them.
"""
