"""What must hold before a rollout starts, and how it is known: the pure part."""
