"""Clients of survey services: catalogue query, cross-match, image cutouts."""
