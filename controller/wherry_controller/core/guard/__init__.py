"""The standing guard: it watches every unit and model always, in or out of a rollout."""
