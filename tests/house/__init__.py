"""Tests of the house itself: what is installed, what the example holds."""
