"""Shapes in images that tell a lensed quasar from a single one."""
