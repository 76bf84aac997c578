"""What users asked for, each through a door of theirs: docs/coverage.md names these tests."""
