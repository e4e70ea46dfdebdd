"""Archipelago: a search for rare objects in imaging surveys."""
