"""Tests of the model tooling: recipe, packaging, signing, directory, running, inspection."""
