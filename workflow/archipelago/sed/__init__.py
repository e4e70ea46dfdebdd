"""Spectral energy distributions: models, grids, fits and posteriors."""
