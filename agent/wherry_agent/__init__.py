"""The device: receives signed models, swaps them under running inference loops, reports.

`core` decides and is pure; `shell` does the I/O; `main` wires them.
"""

from typing import Final

# Not asked of importlib.metadata, which would keep 1 MB on a device; a test holds it to the
# distribution's.
__version__: Final = "0.1.0"
