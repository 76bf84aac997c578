"""The shells of the agent: I/O only; they hold no decisions."""
