"""A microcontroller behind the agent: its courses, and the real firmware on a pty."""
