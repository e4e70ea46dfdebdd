"""A small set of SED templates, made in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DWARFS = Path(__file__).resolve().parents[2] / "data" / "templates" / "dwarf_colours.csv"
#: Section ``sed.models``.
SMALL_MODELS: dict[str, Any] = {
    "star": {"giants": True, "wise_blend": [0.0, 1.0]},
    "galaxy": {
        "redshift": [0.3, 0.7, 1.1],
        "constant": {"age_gyr": [0.5]},
        "delayed": {"age_gyr": [3.0, 20.0], "tau_gyr": [0.5]},
        "metallicity": [1.0],
        "av_mag": [0.0, 1.0],
        "torus_fraction": [0.0, 1.0],
        "red_quasar": {"redshift": [1.0, 2.0], "ebv": [0.3]},
    },
    "quasar": {
        "redshift": {"min": 5.0, "max": 6.6, "step": 0.1},
        "uv_slope": [-0.6, -0.2],
        "line_scale": [1.0],
        "lya_scale": [0.3, 1.0],
        "ebv": [0.0, 0.1],
        "bal_depth": [0.0, 0.4],
        "igm_scale": [1.0],
    },
    "composite": {
        "redshift_step": 0.1,
        "quasars_per_redshift": 6,
        "coarse_quasars_per_redshift": 2,
        "galaxies": 12,
        "galaxy_redshift_max": 2.0,
    },
}
