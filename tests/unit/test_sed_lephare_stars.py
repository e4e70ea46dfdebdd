from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from archipelago.base.errors import InputError
from archipelago.passbands import DES_VHS_WISE, Passband, load_passbands, make_passband
from archipelago.sed.dwarf import COLOUR_BANDS, load_dwarfs
from archipelago.sed.lephare_stars import (
    lephare_star_table,
    read_sed,
    type_code_of,
    type_name,
)

OWN = Path(__file__).resolve().parents[2] / "data" / "templates" / "dwarf_colours.csv"
CENTRES_AA = (4800, 6400, 7800, 9200, 9900, 12500, 21500, 34000, 46000)


@pytest.fixture
def passbands() -> dict[str, Passband]:
    boxes = {}
    for band, centre in zip(COLOUR_BANDS, CENTRES_AA, strict=True):
        wave = np.linspace(0.97, 1.03, 7) * centre
        boxes[band] = make_passband(band, wave, np.ones(7))
    return boxes


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """SEDs with f_nu = 1 (f_lambda = lambda^-2) and others."""
    root = tmp_path / "lephare-data" / "sed" / "STAR"
    wave = np.geomspace(1e3, 1e5, 400)
    seds = {
        "PICKLES/m6v.sed.ext": wave**-2.0 * np.where(wave > 25_000, 1e-3, 1.0),
        "PICKLES/m7iii.sed.ext": wave**-2.0,
        "PICKLES/k0iii.sed.ext": wave**-2.0,
        "BD/lte10-4.5-0.0.AMES-cond.7.sed": wave**-1.0,
        "BD/lte10-4.5-0.0.AMES-dusty.7.sed": wave**-1.0,
        "WD/WDhz43.sed.ext": wave**-2.0,
    }
    for name, flux in seds.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(root / name, np.column_stack([wave, flux]))
    short = np.column_stack([wave, wave**-2.0])[wave < 20_000]
    np.savetxt(root / "BD/lte22-4.5-0.0.NextGen.7.sed", short)
    names = [*seds, "BD/lte22-4.5-0.0.NextGen.7.sed"]
    (root / "STAR_MOD_ALL.list").write_text("".join(f"{name} A\n" for name in names))
    return tmp_path / "lephare-data"


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("PICKLES/m0v.sed", 0, ""),
        ("PICKLES/m2p5v.sed.ext", 2.5, ""),
        ("PICKLES/k5v.sed", -5, ""),
        ("PICKLES/rk0v.sed.ext", -10, ""),
        ("PICKLES/m10iii.sed.ext", 40, ""),
        ("PICKLES/k34ii.sed", -6.5, "supergiant or subgiant"),
        ("PICKLES/wk2iii.sed", 22, "giant earlier than M0"),
        ("PICKLES/b57v.sed", -44, "dwarf earlier than K0"),
        ("BD/lte24-4.5-0.0.NextGen.7.sed", 9 - 20 / 110 + 0, ""),
        ("BD/lte16-4.5-0.0.AMES-dusty.7.sed", 15.6875, "AMES-dusty outside 1700-99999 K"),
        ("BD/lte98-4.5-0.0.NextGen.7.sed", -40.05, "dwarf earlier than K0"),
        ("LAGET/T3750G400.dat", 10 / 19, ""),
    ],
)
def test_types_from_names(name: str, code: float, reason: str) -> None:
    found, why = type_code_of(name)
    assert found == pytest.approx(code, abs=0.08)
    assert why == reason


def test_name_without_a_type() -> None:
    assert type_code_of("WD/WDhz43.sed.ext")[1] == "no spectral type in its name"


def test_names_of_codes() -> None:
    codes = (-44, -10, -5, 0, 2.4, 9.9, 15, 22, 29, 30, 40)
    names = "B6 K0 K5 M0 M2.5 L0 L5 T2 T9 M0III M10III"
    assert [type_name(code) for code in codes] == names.split()


def test_star_table(
    data: Path, passbands: dict[str, Passband], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        table = lephare_star_table(data, "STAR/STAR_MOD_ALL.list", passbands)
    assert table.spectral_type == ("M6 m6v", "T6 lte10-4.5-0.0.AMES-cond.7", "M7III m7iii")
    assert table.type_code[0] == 6
    assert 25 < table.type_code[1] < 26
    j = COLOUR_BANDS.index("J")
    np.testing.assert_allclose(table.fluxes[:, j], 1.0)
    np.testing.assert_allclose(table.fluxes[0, :7], 1.0, rtol=1e-4)
    # f_lambda ~ 1/lambda: f_nu ~ lambda, in the middle of each band.
    np.testing.assert_allclose(table.fluxes[1], np.array(CENTRES_AA) / CENTRES_AA[j], rtol=1e-3)
    text = caplog.text
    for reason in (
        "does not cover every passband): BD/lte22",
        "no spectral type in its name): WD/WDhz43",
        "giant earlier than M0): PICKLES/k0iii",
        "AMES-dusty outside 1700-99999 K): BD/lte10",
    ):
        assert reason in text


def test_wise_bands_of_pickles_are_our_own(data: Path, passbands: dict[str, Passband]) -> None:
    table = lephare_star_table(data, "STAR/STAR_MOD_ALL.list", passbands)
    own = load_dwarfs(OWN)
    bands = ("K", "W1", "W2")
    for row, kind in ((0, "M6"), (2, "M7III")):
        theirs = own.band_fluxes(bands)[own.spectral_type.index(kind)]
        ours = table.band_fluxes(bands)[row]
        np.testing.assert_allclose(ours / ours[0], theirs / theirs[0], rtol=1e-6)


def test_magnitudes_and_densities_are_our_own(data: Path, passbands: dict[str, Passband]) -> None:
    table = lephare_star_table(data, "STAR/STAR_MOD_ALL.list", passbands)
    own = load_dwarfs(OWN)
    assert table.m_j_vega_mag[0] == own.m_j_vega_mag[own.spectral_type.index("M6")]
    dwarfs = table.type_code < 30
    assert table.density_pc3[dwarfs].sum() == pytest.approx(own.density_pc3.sum())
    # M0 to about T0 belong to the M6 star, the rest to the T6 one.
    nearer = np.abs(own.type_code - table.type_code[0]) < np.abs(own.type_code - 25.8)
    share = own.density_pc3[nearer & (own.type_code < 30)].sum()
    assert table.density_pc3[0] == pytest.approx(share, rel=0.05)


def test_exponents_without_a_letter(tmp_path: Path) -> None:
    path = tmp_path / "a.sed"
    path.write_text("# a comment\n 200.0 0.5E+01\n 100.0 0.70-100 9 9\n")
    wave, f_nu = read_sed(path)
    np.testing.assert_allclose(wave, [100, 200])
    np.testing.assert_allclose(f_nu, [0.70e-100 * 1e4, 5 * 4e4])


@pytest.mark.parametrize(
    "text", ["", "100 1\n", "100 1\n200 one\n", "100 1\n200\n", "1 1\n2 nan\n"]
)
def test_seds_that_are_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.sed"
    path.write_text(text)
    with pytest.raises(InputError, match=r"cannot read the SED: .*a\.sed"):
        read_sed(path)
    with pytest.raises(InputError, match="cannot read the SED"):
        read_sed(tmp_path / "absent.sed")


def test_what_is_absent(data: Path, passbands: dict[str, Passband]) -> None:
    with pytest.raises(InputError, match="no passbands for W2"):
        some = {band: passbands[band] for band in COLOUR_BANDS[:-1]}
        lephare_star_table(data, "STAR/STAR_MOD_ALL.list", some)
    with pytest.raises(InputError, match="list of star templates is absent or empty"):
        lephare_star_table(data, "STAR/other.list", passbands)
    (data / "sed/STAR/WD.list").write_text("WD/WDhz43.sed.ext A\n")
    with pytest.raises(InputError, match="no star template can be used: 1: no spectral type"):
        lephare_star_table(data, "STAR/WD.list", passbands)


@pytest.mark.slow
def test_official_templates(shared_data: Path) -> None:
    table = lephare_star_table(
        shared_data / "lephare-data.tar.xz",
        "STAR/STAR_MOD_ALL.list",
        load_passbands(DES_VHS_WISE),
    )
    own = load_dwarfs(OWN)
    assert np.all(np.diff(table.type_code) >= 0)
    assert np.isfinite(np.log(table.fluxes)).all()
    # M0 to M4, Pickles: our own table is made of the same spectra there.
    for kind in ("M0", "M1", "M2", "M3", "M4"):
        row = table.spectral_type.index(f"{kind} {kind.lower()}v")
        colours = -2.5 * np.log10(table.fluxes[row] / own.fluxes[own.spectral_type.index(kind)])
        assert np.abs(colours).max() < 0.3, kind
