"""The controller's link to its broker: paho in its own thread, events on the writer's inbox."""
