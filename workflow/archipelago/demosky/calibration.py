"""How near the synthetic sky comes to the real one: two-sample tests per colour and magnitude.

    python -m archipelago.demosky.calibration --catalogue FILE --seed 1

compares the objects that survive all cuts of the AllWISE search with a real final sample: a
CSV file with columns ``{band}_mag`` and ``{band}_magerr`` (AB, 99 where not detected).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from archipelago.base.errors import ArchipelagoError
from archipelago.base.tables import read_any_table, require_columns
from archipelago.demosky import catalogues
from archipelago.demosky.sky import BANDS, Sky, build_sky

_MISSING = 90.0


def final_sample(sky: Sky) -> pd.DataFrame:
    """Return AB magnitudes ``{band}_mag`` and errors of the AllWISE search's survivors.

    NaN where a DES band is not detected at 2 sigma (1.0857 / error); columns ``id``, ``kind``
    and ``is_quasar`` tell what each is.
    """
    keep = sky.truth["survives_allwise"].to_numpy()
    truth, des = sky.truth[keep], sky.des[keep].reset_index(drop=True)
    ra, dec = des["ra"].to_numpy(), des["dec"].to_numpy()
    table = pd.DataFrame({name: truth[name].to_numpy() for name in ("id", "kind", "is_quasar")})
    for band in BANDS[:5]:
        magnitude = des[f"mag_aper_4_{band.lower()}"]
        error = des[f"magerr_aper_4_{band.lower()}"]
        good = (magnitude < _MISSING) & (1.0857 / error > 2.0)
        table[f"{band}_mag"] = magnitude.where(good)
        table[f"{band}_magerr"] = error.where(good)
    partners = (
        (sky.vhs, {"J": "Jpmag", "K": "Kspmag"}),
        (sky.allwise, {"W1": "W1mag", "W2": "W2mag"}),
    )
    for catalogue, columns in partners:
        row = catalogues.nearest(
            ra, dec, catalogue["RAJ2000"].to_numpy(), catalogue["DEJ2000"].to_numpy()
        )
        for band, column in columns.items():
            values = catalogue[column].to_numpy()[row] + catalogues.VEGA_TO_AB[band]
            table[f"{band}_mag"] = values
            table[f"{band}_magerr"] = catalogue[f"e_{column}"].to_numpy()[row]
    return table


def real_sample(path: str) -> pd.DataFrame:
    """Read a real final sample: magnitudes and errors, NaN where not detected.

    Raises
    ------
    InputError
        If the file cannot be read or lacks a band.
    """
    table = read_any_table(path)
    names = [f"{band}_{kind}" for band in BANDS for kind in ("mag", "magerr")]
    require_columns(table, names, path)
    return table[names].where(table[names] < _MISSING)


def compare(demo: pd.DataFrame, real: pd.DataFrame) -> pd.DataFrame:
    """Return the two-sample Kolmogorov-Smirnov test of each quantity.

    Parameters
    ----------
    demo, real : tables with ``{band}_mag`` and ``{band}_magerr``, NaN where not detected.

    Returns
    -------
    One row per magnitude, colour (neighbouring bands) and magnitude error: ``quantity``,
    ``n_demo``, ``n_real``, ``statistic``, ``p_value``, and the 16th, 50th and 84th percentiles
    of both [mag].
    """

    def quantities(table: pd.DataFrame) -> dict[str, pd.Series]:
        result = {band: table[f"{band}_mag"] for band in BANDS}
        for blue, red in zip(BANDS[:-1], BANDS[1:], strict=True):
            result[f"{blue}-{red}"] = table[f"{blue}_mag"] - table[f"{red}_mag"]
        result.update({f"err {band}": table[f"{band}_magerr"] for band in BANDS})
        return result

    rows = []
    real_values = quantities(real)
    for name, values in quantities(demo).items():
        a, b = values.dropna().to_numpy(), real_values[name].dropna().to_numpy()
        test = ks_2samp(a, b, method="asymp")
        low, middle, high = np.percentile(a, [16, 50, 84])
        real_low, real_middle, real_high = np.percentile(b, [16, 50, 84])
        rows.append(
            {
                "quantity": name,
                "n_demo": len(a),
                "n_real": len(b),
                "statistic": float(test.statistic),
                "p_value": float(test.pvalue),
                "demo_16": low,
                "demo_50": middle,
                "demo_84": high,
                "real_16": real_low,
                "real_50": real_middle,
                "real_84": real_high,
            }
        )
    return pd.DataFrame(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m archipelago.demosky.calibration", description=__doc__.split("\n", 1)[0]
    )
    parser.add_argument("--catalogue", required=True, help="the real final sample, a CSV file")
    parser.add_argument("--seed", type=int, default=1, help="seed of the sky")
    parser.add_argument(
        "--with-quasars",
        action="store_true",
        help="compare all survivors; as a rule the demo's quasars are left out, which are "
        "far more numerous there than on the real sky",
    )
    options = parser.parse_args(arguments)
    try:
        real = real_sample(options.catalogue)
    except ArchipelagoError as error:
        parser.exit(2, f"error: {error}\n")
    demo = final_sample(build_sky(options.seed))
    if not options.with_quasars:
        demo = demo[~demo["is_quasar"]]
    table = compare(demo, real)
    print(f"demo: {len(demo)} objects of seed {options.seed}; real: {len(real)}")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.3g}"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
