"""Grids and fit parameters that the ``sed`` section of the configuration starts from.

Everything here is plain data, in the form in which the scripts get it from the
configuration; see the configuration's comments for units, and the
functions of `archipelago.sed.priors` for sources.

The model errors, the lens's mass and share, and the density and width of ``other`` have
no published value. They were set by hand, one value for a whole class, while
looking at residuals of the real half catalogue and at the ranks of its seven labelled
quasars (some 40 settings were tried): ranks measured there are not an independent test.
"""

from __future__ import annotations

from typing import Any

#: Grids of the templates (``sed.models``).
DEFAULT_MODELS: dict[str, Any] = {
    "star": {
        "giants": True,
        "wise_blend": [0.0, 0.4, 1.0, 2.5],
        "blend_w2_over_w1": 1.0,
    },
    "galaxy": {
        "redshift": [
            *(0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7),
            *(0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9),
            *(2.0, 2.25, 2.5, 2.75, 3.0, 3.25, 3.5, 3.75, 4.0),
        ],
        "constant": {"age_gyr": [0.1, 1.0]},
        "delayed": {"age_gyr": [1.0, 3.0, 7.0], "tau_gyr": [0.3, 1.0]},
        "metallicity": [0.5, 1.5],
        "av_mag": [0.0, 0.5, 1.0, 2.0, 3.5],
        "torus_fraction": [0.0, 0.5, 2.0],
        "red_quasar": {
            "redshift": {"min": 0.4, "max": 4.4, "step": 0.1},
            "ebv": [0.15, 0.3, 0.5, 0.8, 1.2],
        },
    },
    "quasar": {
        "redshift": {"min": 4.5, "max": 7.5, "step": 0.04},
        "uv_slope": [-1.0, -0.6, -0.2, 0.2],
        "line_scale": [0.4, 1.0, 2.0],
        "lya_scale": [0.2, 1.0, 2.0],
        "ebv": [0.0, 0.06, 0.15],
        "igm_scale": [0.7, 1.0, 1.4],
    },
    "composite": {
        "redshift_step": 0.08,
        "quasars_per_redshift": 8,
        "galaxies": 160,
        "galaxy_redshift_max": 2.0,
    },
}

#: Parameters of the fits (``sed.fit``).
DEFAULT_FIT: dict[str, Any] = {
    "floor_fraction": 0.003,
    "aperture_offset_mag": {
        "bands": ["g", "r", "i", "z", "Y"],
        "star": 0.27,
        "quasar": 0.27,
        "lensed": 0.27,
        "galaxy": 0.40,
    },
    "model_error": {
        "star": {"default": 0.10, "g": 0.30, "r": 0.20, "i": 0.08, "z": 0.06, "Y": 0.07},
        "galaxy": {"default": 0.15, "r": 0.12},
        "quasar": {"default": 0.12, "g": 0.10, "r": 0.10, "i": 0.15, "J": 0.15},
        "lensed": {"default": 0.12, "g": 0.10, "r": 0.10, "i": 0.15, "J": 0.15},
    },
    "priors": {
        "star": {"latitude_deg": 50.0, "giants_per_deg2": 1e-6, "blend_fraction": 0.05},
        "galaxy": {
            "av_scale_mag": 1.0,
            "torus_share": 0.1,
            "red_quasars_per_deg2_mag": 1.0,
            "red_quasar_ebv_scale_mag": 0.3,
        },
        "quasar": {
            "density_scale": 1.0,
            "uv_slope_mean": -0.3,
            "uv_slope_sigma": 0.35,
            "ebv_scale_mag": 0.05,
        },
        "lens": {
            "log_mass_mean": 10.8,
            "log_mass_sigma": 0.6,
            "redshift_mean": 0.7,
            "redshift_sigma": 0.5,
            "av_scale_mag": 0.5,
        },
        "lensed_fraction": 0.05,
    },
    "other": {"density_per_deg2_mag": 0.02, "width_mag": 1.0, "degrees": 3.0},
}
