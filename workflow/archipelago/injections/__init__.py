"""Quasars painted into the run's own images, and which of them the search finds."""
