"""The peripherals of the agent: configuration, HTTP door, energy, resources, systemd, sources."""
