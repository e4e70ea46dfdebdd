"""Whole stages measured on the embedded survey, whose truth is known; no stage imports it."""
