"""Cool dwarfs and giants: band fluxes from a table of colours by spectral type."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.errors import InputError

Floats = NDArray[np.float64]

#: The bands that the table's colours chain together, in order.
COLOUR_BANDS = ("g", "r", "i", "z", "Y", "J", "K", "W1", "W2")

_COLUMNS = (
    "spectral_type",
    "type_code",
    *(f"{a}_{b}" for a, b in zip(COLOUR_BANDS[:-1], COLOUR_BANDS[1:], strict=True)),
    "m_j_vega_mag",
    "density_per_1000pc3",
)


@dataclass(frozen=True)
class DwarfTable:
    """Colours of stars by spectral type.

    Attributes
    ----------
    spectral_type : names such as ``L3``, (n,).
    type_code : 0 = M0, 10 = L0, 20 = T0; giants 30 + subtype, (n,).
    fluxes : band fluxes for a J flux of 1, (n, 9), bands as `COLOUR_BANDS`.
    m_j_vega_mag : absolute J magnitudes (MKO, Vega) [mag], (n,).
    density_pc3 : local space densities [1 / pc^3], (n,).
    """

    spectral_type: tuple[str, ...]
    type_code: Floats
    fluxes: Floats
    m_j_vega_mag: Floats
    density_pc3: Floats

    def band_fluxes(self, bands: Sequence[str]) -> Floats:
        """Return fluxes in the bands asked for, (n, n_band), for a J flux of 1.

        Raises
        ------
        InputError
            If the table does not hold a band.
        """
        absent = [band for band in bands if band not in COLOUR_BANDS]
        if absent:
            raise InputError(
                f"no star colours for the bands {', '.join(absent)}",
                where="table of star colours",
                next_step=f"use bands among {', '.join(COLOUR_BANDS)}, or extend the table",
            )
        return self.fluxes[:, [COLOUR_BANDS.index(band) for band in bands]]

    def at_type(self, type_code: float, bands: Sequence[str]) -> Floats:
        """Return band fluxes for a J flux of 1 at any type from M0 to T9, (n_band,).

        Linear in magnitude between the dwarfs of the table; codes outside it
        are moved to its ends.
        """
        dwarfs = self.type_code < 30
        magnitudes = np.log(self.band_fluxes(bands)[dwarfs])
        codes = self.type_code[dwarfs]
        return np.exp([np.interp(type_code, codes, column) for column in magnitudes.T])


def load_dwarfs(path: str | Path) -> DwarfTable:
    """Read the table of star colours (CSV with ``#`` comments; AB colours, see its head).

    Raises
    ------
    InputError
        If the file cannot be read, or lacks a column or a number.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        body = "\n".join(line for line in lines if not line.startswith("#"))
        table = pd.read_csv(io.StringIO(body))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(
            f"cannot read the star colours: {error}", where=str(path), next_step="check the file"
        ) from error
    missing = [name for name in _COLUMNS if name not in table.columns]
    numbers = [name for name in _COLUMNS[1:] if name in table.columns]
    if missing or not len(table):
        raise InputError(
            f"the star colours lack {', '.join(missing) or 'rows'}",
            where=str(path),
            next_step=f"give the columns {', '.join(_COLUMNS)}",
        )
    values = table[numbers].apply(pd.to_numeric, errors="coerce")
    if not np.isfinite(values.to_numpy()).all():
        raise InputError(
            "the star colours hold values that are not numbers",
            where=str(path),
            next_step=f"fill every cell of {', '.join(numbers)}",
        )
    colours = values[list(_COLUMNS[2:10])].to_numpy()
    # Magnitudes relative to g, then relative to J.
    magnitudes = np.concatenate([np.zeros((len(table), 1)), -np.cumsum(colours, axis=1)], axis=1)
    magnitudes -= magnitudes[:, [COLOUR_BANDS.index("J")]]
    return DwarfTable(
        spectral_type=tuple(table["spectral_type"].astype(str)),
        type_code=values["type_code"].to_numpy(dtype=float),
        fluxes=10 ** (-0.4 * magnitudes),
        m_j_vega_mag=values["m_j_vega_mag"].to_numpy(dtype=float),
        density_pc3=values["density_per_1000pc3"].to_numpy(dtype=float) * 1e-3,
    )
