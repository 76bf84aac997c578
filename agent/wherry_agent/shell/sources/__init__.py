"""Where a model's inputs come from besides HTTP: files that the C loop replays at a steady pace."""

from wherry_agent.shell.sources.replay import SAMPLES_BYTES_MAX, Samples, read_samples

__all__ = ["SAMPLES_BYTES_MAX", "Samples", "read_samples"]
