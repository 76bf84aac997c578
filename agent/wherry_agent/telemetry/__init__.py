"""What the agent tells about itself: energy arithmetic and SenML packs, both pure."""
