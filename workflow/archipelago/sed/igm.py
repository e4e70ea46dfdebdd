"""What the intergalactic medium lets through.

Mean transmission of hydrogen along a sight line to redshift z, over scales of
tens of comoving Mpc (a broad band), from the Lyman series and the Lyman limit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from archipelago.cosmology import proper_path_mpc

Floats = NDArray[np.float64]

LYMAN_ALPHA_AA = 1215.67
LYMAN_LIMIT_AA = 911.76
#: Wavelength [Angstrom] of Lyman beta, gamma and delta, and the effective optical
#: depth of each as a fraction of Lyman alpha's by the same gas. Fan et al. 2006,
#: AJ 132, 117: tau_alpha/tau_beta = 2.25 and tau_alpha/tau_gamma = 4.4 for effective
#: optical depths; delta is assumed, on the same trend.
HIGHER_LINES = ((1025.72, 1 / 2.25), (972.54, 1 / 4.4), (949.74, 1 / 7.2))

#: How much more the higher lines scatter between sight lines than Lyman alpha, in ln optical depth
#: of a broad band (assumed): a band sees them over short paths of gas near the quasar, where the
#: scatter is largest (Bosman et al. 2022), and alpha over long ones that average it out.
_HIGHER_LINES_SCATTER = 3.0

#: Lyman alpha effective optical depths below the fit of Bosman et al. are blended
#: with it over this range of redshift.
_BLEND = (4.3, 4.8)


def lyman_alpha_tau(redshift: ArrayLike) -> Floats:
    """Return the mean effective optical depth of Lyman alpha at a redshift of absorption.

    From 4.8 up: tau = 0.3 ((1 + z) / 5.8)^13.7 + 1.35 (Bosman et al. 2022, MNRAS
    514, 55; fitted to z = 6 and used beyond it, where nothing measurable is let
    through anyway). Below: 0.751 ((1 + z) / 4.5)^2.90 - 0.132 (Becker et al. 2013,
    MNRAS 430, 2067), blended linearly from z = 4.3 to 4.8 (our choice) and cut at 0.
    """
    z = np.asarray(redshift, dtype=float)
    high = 0.3 * ((1 + z) / 5.8) ** 13.7 + 1.35
    low = np.clip(0.751 * (np.clip(1 + z, 0.0, None) / 4.5) ** 2.90 - 0.132, 0.0, None)
    share = np.clip((z - _BLEND[0]) / (_BLEND[1] - _BLEND[0]), 0.0, 1.0)
    return np.asarray((1 - share) * low + share * high)


def transmission(
    wavelength_aa: ArrayLike,
    redshift: float,
    tau_scale: float = 1.0,
    proximity_mpc: float = 3.0,
) -> Floats:
    """Return the fraction of light let through at each observed wavelength.

    Parameters
    ----------
    wavelength_aa : observed wavelengths [Angstrom], (n_wave,).
    redshift : of the source.
    tau_scale : factor on Lyman alpha's optical depth, the sight line's scatter about the
        mean; those of the higher lines are scaled by its cube. Between the single sight
        lines of Bosman et al. 2022 at z > 5.5 it is some 0.7 to 1.4 (rounded by us), in a
        broad band less.
    proximity_mpc : proper distance [Mpc] from the quasar at which its own
        ionising light equals the background. Optical depths at r are divided by
        1 + (proximity_mpc / r)^2 (Bajtlik et al. 1988, ApJ 327, 570). The default is
        assumed: zones of z ~ 6 quasars measure a few Mpc (Eilers et al. 2017, ApJ 840,
        24); 0: none.

    Returns
    -------
    (n_wave,) values from 0 to 1. The damping wing of a neutral IGM is not included.
    """
    wave = np.asarray(wavelength_aa, dtype=float)
    tau = np.zeros(wave.shape)
    for line_aa, share in ((LYMAN_ALPHA_AA, 1.0), *HIGHER_LINES):
        z_gas = wave / line_aa - 1
        bluewards = z_gas < redshift
        z_gas = np.clip(z_gas[bluewards], 0.0, None)
        power = 1.0 if line_aa == LYMAN_ALPHA_AA else _HIGHER_LINES_SCATTER
        part = share * tau_scale**power * lyman_alpha_tau(z_gas)
        if proximity_mpc > 0:
            path = np.clip(proper_path_mpc(z_gas, redshift), 1e-6, None)
            # The path formula holds for short paths; far away the factor is 1 anyway.
            part = part / (1 + (proximity_mpc / path) ** 2)
        tau[bluewards] += part
    tau += _lyman_limit_tau(wave, redshift)
    return np.asarray(np.exp(-np.clip(tau, 0.0, 100.0)))


def _lyman_limit_tau(wavelength_aa: Floats, redshift: float) -> Floats:
    """Return the optical depth to ionising photons.

    Path from the source to where a photon is redshifted to the limit, divided by
    the mean free path 37 ((1 + z) / 5)^-5.4 proper Mpc (Worseck et al. 2014, MNRAS
    445, 1745; z = 2.3 to 5.5, used beyond it).
    """
    z_limit = wavelength_aa / LYMAN_LIMIT_AA - 1
    path = np.clip(proper_path_mpc(np.clip(z_limit, 0.0, redshift), redshift), 0.0, None)
    return np.asarray(path / (37.0 * ((1 + redshift) / 5.0) ** -5.4))
