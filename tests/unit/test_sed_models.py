"""Models: IGM, dust, quasars, dwarfs, galaxies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from archipelago.base.errors import InputError
from archipelago.passbands import DES_VHS_WISE, band_fluxes, load_passbands
from archipelago.sed import dust, dwarf, galaxy, igm, quasar

DWARFS = Path(__file__).resolve().parents[2] / "data" / "templates" / "dwarf_colours.csv"


def test_bosman_optical_depth() -> None:
    assert igm.lyman_alpha_tau(5.8) == pytest.approx(0.3 * (6.8 / 5.8) ** 13.7 + 1.35)
    z = np.linspace(0, 7, 700)
    assert np.all(np.diff(igm.lyman_alpha_tau(z)) >= 0)


def test_transmission_regions() -> None:
    z = 6.0
    wave = np.array([850.0, 1000.0, 1100.0, 1190.0, 1220.0, 3000.0]) * (1 + z)
    through = igm.transmission(wave, z)
    assert through[0] < 1e-3
    assert through[1] < through[2] < 1
    assert through[2] == pytest.approx(
        np.exp(-igm.lyman_alpha_tau(1100 * 7 / 1215.67 - 1)), rel=0.1
    )
    assert through[4] == through[5] == 1
    near = igm.transmission(np.array([1213.0 * 7]), z)[0]
    assert near > igm.transmission(np.array([1213.0 * 7]), z, proximity_mpc=0)[0]
    opaque = igm.transmission(wave, z, tau_scale=1.4)
    assert opaque[2] < through[2]


def test_smc_law_rises_to_the_blue() -> None:
    # Pei 1992: E(B-V) units, about 2.9 in V (5500 A) and 3.9 in B (4400 A).
    k = dust.smc_extinction([1450.0, 4400.0, 5500.0, 22_000.0])
    assert k[1] == pytest.approx(3.93, abs=0.25)
    assert k[2] == pytest.approx(2.93, abs=0.2)
    assert k[0] > 10 and k[3] < 0.7


def test_galactic_correction_brightens() -> None:
    factor = dust.galactic_correction([0.0, 0.1, np.nan], ["g", "z", "unknown"])
    np.testing.assert_allclose(factor[0], 1)
    np.testing.assert_allclose(factor[2], 1)
    assert factor[1, 0] == pytest.approx(10 ** (0.04 * 3.186))
    assert factor[1, 2] == 1


def test_quasar_spectrum_scale_and_terms() -> None:
    wave = np.array([1450.0, 2200.0]) * 7
    plain = quasar.quasar_f_nu(wave, 6.0, line_scale=0, lya_scale=0)
    assert plain[0] == pytest.approx(float(quasar.flux_at_1450_ujy(6.0)), rel=1e-6)
    brighter = quasar.quasar_f_nu(wave, 6.0, line_scale=0, lya_scale=0, m1450=-27)
    assert brighter[0] / plain[0] == pytest.approx(10**0.4)
    reddened = quasar.quasar_f_nu(wave, 6.0, line_scale=0, lya_scale=0, ebv=0.1)
    bluer = quasar.quasar_f_nu(wave, 6.0, line_scale=0, lya_scale=0, ebv=-0.03)
    assert reddened[1] > plain[1] > bluer[1]
    host = quasar.rest_spectrum([8000.0], host_fraction=1.0)
    assert host[0] > quasar.rest_spectrum([8000.0])[0]


def test_line_equivalent_width_is_that_asked_for() -> None:
    wave = np.linspace(1400, 1700, 6000)
    with_lines = quasar.rest_spectrum(wave, line_scale=1.0, lya_scale=0.0)
    without = quasar.rest_spectrum(wave, line_scale=0.0, lya_scale=0.0)
    width = np.trapezoid((with_lines / without - 1)[wave > 1480], wave[wave > 1480])
    assert width == pytest.approx(23.8 + 0.5, rel=0.03)


def test_quasar_colours_at_z6_are_those_of_a_dropout() -> None:
    bands = load_passbands(DES_VHS_WISE)
    wave = np.geomspace(3500, 56_000, 4000)
    magnitude = -2.5 * np.log10(band_fluxes(wave, quasar.quasar_f_nu(wave, 6.0), bands))
    colour = -np.diff(magnitude)
    assert 1.2 < colour[2] < 3.5  # i - z; Fan et al. 2001: > 2.2 in SDSS at z > 5.8
    assert abs(colour[3]) < 0.4  # z - Y


def test_dwarf_table_covers_m0_to_t9() -> None:
    table = dwarf.load_dwarfs(DWARFS)
    assert list(table.type_code[:30]) == list(range(30))
    fluxes = table.band_fluxes(["J", "z", "W1"])
    np.testing.assert_allclose(fluxes[:, 0], 1)
    assert np.all(table.fluxes > 0)
    middle = table.at_type(14.5, ["z", "J"])
    ends = table.band_fluxes(["z", "J"])[[14, 15]]
    assert ends[:, 0].min() <= middle[0] <= ends[:, 0].max()
    with pytest.raises(InputError, match="no star colours for the bands H"):
        table.band_fluxes(["H"])


def test_broken_dwarf_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the star colours"):
        dwarf.load_dwarfs(tmp_path / "none.csv")
    (tmp_path / "a.csv").write_text("spectral_type,type_code\nM0,0\n")
    with pytest.raises(InputError, match="lack g_r"):
        dwarf.load_dwarfs(tmp_path / "a.csv")
    text = DWARFS.read_text().replace("M5,5,1.64", "M5,5,x")
    (tmp_path / "b.csv").write_text(text)
    with pytest.raises(InputError, match="not numbers"):
        dwarf.load_dwarfs(tmp_path / "b.csv")


def test_galaxy_components() -> None:
    parts = galaxy.components(0.5, history="constant", age_gyr=2.0, av_mag=1.0)
    assert parts["constant"]["age_max"] == 2.0 and parts["dust"]["Av"] == 1.0
    assert "delayed" in galaxy.components(0.5)
    with pytest.raises(ValueError, match="'delayed' or 'constant'"):
        galaxy.components(0.5, history="burst")
