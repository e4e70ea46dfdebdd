"""Magnitudes, fluxes, upper limits, cuts and the cut flow."""
