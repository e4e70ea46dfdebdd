"""Do real images train, embed and cluster? Extended and compact sources of real fields.

    python -m archipelago.measure.fields ../shared/data/des_fields

detects the sources of real fields of the sky (one FITS cube per band, as for a search from
images of one's own), trains a network per seed on their cutouts without any label, and says how
far extended and compact sources fall apart among its features, beside a network that was never
trained. Which source is extended is measured on the images, by its half-light radius; the
network is told neither that nor anything else.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sep
import yaml
from numpy.typing import NDArray

from archipelago.base.errors import ArchipelagoError, DataError
from archipelago.base.images import ImageSet
from archipelago.islands.clusters import seed_islands
from archipelago.islands.maps import principal_components
from archipelago.islands.similarity import unit_rows
from archipelago.islands.summary import one_answer
from archipelago.learning.features import compute_features
from archipelago.learning.scaling import noise_per_band
from archipelago.learning.settings import LearningSettings
from archipelago.learning.training import train
from archipelago.measure.statistics import area_under_curve
from archipelago.own.fields import DetectedSources, detect, read_fields

_REPOSITORY = Path(__file__).resolve().parents[3]
#: Side of a cutout [px], of a pixel [arcsec], and zero point of the fields of DES.
SIZE_PX, PIXEL_SCALE_ARCSEC, ZERO_POINT_AB = 28, 0.263, 30.0
BANDS = ("g", "r", "i", "z", "Y")
#: Bands whose weighted sum the radius is measured on: the deepest ones.
RADIUS_BANDS = ("r", "i", "z")
#: Radius of the circle whose light counts as all of it [px]: what lies between it and the
#: frame of a 28 px cutout is sky.
_WHOLE_RADIUS_PX = 7.0
#: Fainter sources have no radius to tell them apart by [signal to noise within the circle].
LEAST_SNR = 20.0
#: Width of a cutout's frame, where sky is measured [px].
_FRAME_PX = 4
#: Components of the features, and folds of the cross-validation.
N_COMPONENTS, N_FOLDS = 5, 5


# --- which source is extended ----------------------------------------------------------------


def half_light_radii(cutouts: ImageSet) -> pd.DataFrame:
    """Measure the size of each source on its own image.

    On the sum of `RADIUS_BANDS`, each weighted with the inverse of its noise variance, less
    the median of the frame. The centre is SEP's windowed one (as SExtractor's XWIN), the
    radius holds half of the light within 7 px of it.

    Returns
    -------
    DataFrame
        id, radius_px, snr (of the light within 7 px, pixels' noise alone), one row per cutout.
    """
    used = [cutouts.bands.index(band) for band in RADIUS_BANDS]
    noise = noise_per_band(cutouts.images)[used]
    weight = 1.0 / noise**2
    side = cutouts.images.shape[-1]
    frame = np.ones((side, side), dtype=bool)
    frame[_FRAME_PX:-_FRAME_PX, _FRAME_PX:-_FRAME_PX] = False
    planes = cutouts.images[:, used].astype(np.float64)
    planes -= np.median(planes[:, :, frame], axis=-1)[:, :, None, None]
    images = np.einsum("b,nbyx->nyx", weight / weight.sum(), planes)
    sigma = np.sqrt(np.pi) * _WHOLE_RADIUS_PX / np.sqrt(weight.sum())
    rows = []
    for identifier, image in zip(cutouts.ids, images, strict=True):
        image = np.ascontiguousarray(image)
        middle = np.array([(side - 1) / 2])
        # 1.5 px: about the standard deviation of the seeing.
        x, y, _ = sep.winpos(image, middle, middle, np.array([1.5]))
        whole, _, _ = sep.sum_circle(image, x, y, _WHOLE_RADIUS_PX, subpix=0)
        radius, flag = sep.flux_radius(
            image, x, y, np.array([_WHOLE_RADIUS_PX]), 0.5, normflux=whole, subpix=5
        )
        good = flag[0] == 0 and whole[0] > 0
        rows.append((int(identifier), radius[0] if good else np.nan, whole[0] / sigma))
    return pd.DataFrame(rows, columns=["id", "radius_px", "snr"])


def dividing_value(values: NDArray[np.float64]) -> float:
    """Return where values (n,) are best cut in two: the largest variance between the parts.

    Otsu (1979, IEEE Trans. Syst. Man Cybern. 9, 62), on the values themselves: the middle
    between two neighbours.

    Raises
    ------
    DataError
        If there are fewer than two different values.
    """
    values = np.sort(np.asarray(values, dtype=float))
    n = len(values)
    if n < 2 or values[0] == values[-1]:
        raise DataError(
            f"{n} sources whose sizes are all the same",
            where="measure.fields",
            next_step="give fields with more and brighter sources",
        )
    count = np.arange(1, n)
    below = np.cumsum(values)[:-1]
    gap = below / count - (values.sum() - below) / (n - count)
    between = count * (n - count) * gap**2
    between[values[1:] == values[:-1]] = -1.0  # equal values are not parted
    best = int(np.argmax(between))
    return float((values[best] + values[best + 1]) / 2)


# --- how far they fall apart -----------------------------------------------------------------


def separation(
    features: NDArray[np.floating], extended: NDArray[np.bool_], groups: NDArray[np.int64]
) -> dict[str, float]:
    """Return how far two kinds of objects fall apart among features.

    Parameters
    ----------
    features : (n, d), rows of norm 1.
    extended : (n,) the kind, which the features were made without.
    groups : (n,) field of each object; one field's objects share a fold.

    Returns
    -------
    dict
        silhouette_cosine, silhouette_pca (of the first five principal components, Euclidean;
        Rousseeuw 1987, J. Comput. Appl. Math. 20, 53: -1 to 1, above 0 they fall apart), and
        auc: area under the ROC of the one linear direction that parts them best (LDA, shrunk
        after Ledoit & Wolf), each field's objects judged by the others; 0.5 is chance.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.metrics import silhouette_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    components = principal_components(features, min(N_COMPONENTS, *features.shape))
    folds = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=1)
    scores = cross_val_predict(
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
        features.astype(np.float64),
        extended,
        groups=groups,
        cv=folds,
        method="decision_function",
    )
    return {
        "silhouette_cosine": float(silhouette_score(features, extended, metric="cosine")),
        "silhouette_pca": float(silhouette_score(components, extended)),
        "auc": area_under_curve(scores, extended),
    }


def learnt_features(images: ImageSet, seed: int, epochs: int, threads: int) -> NDArray[np.float32]:
    """Return features (n, d) of a network trained on the images alone; 0 epochs: not at all.

    With the default settings of the learning stage but the number of epochs, which are all
    run: a set this small has one step in each.
    """
    settings = dataclasses.replace(LearningSettings(), epochs_max=epochs, patience=max(epochs, 1))
    with tempfile.TemporaryDirectory() as folder:
        model, _ = train(images, settings, seed, folder, threads=threads)
    return compute_features(model, images, threads=threads)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What `measure_fields` found.

    Attributes
    ----------
    n_fields, n_detected, n_cutouts : fields, sources detected, and those cut out.
    n_extended, n_compact : sources bright enough to have a size, by that size.
    threshold_px : half-light radius that parts them [px].
    separation : per network (one per seed, and one never trained): see `separation`.
    islands : per island that the seeds agree on (-1 none): n, n_extended, n_compact.
    seconds : training and features of one network, mean.
    """

    n_fields: int
    n_detected: int
    n_cutouts: int
    n_extended: int
    n_compact: int
    threshold_px: float
    separation: pd.DataFrame
    islands: pd.DataFrame
    seconds: float


def sources(folder: Path) -> DetectedSources:
    """Detect and cut out the sources of the fields in ``<folder>/<band>.fits.gz``."""
    fields = read_fields([folder / f"{band}.fits.gz" for band in BANDS], BANDS)
    return detect(
        fields,
        size_px=SIZE_PX,
        pixel_scale_arcsec=PIXEL_SCALE_ARCSEC,
        zero_point_ab=ZERO_POINT_AB,
    )


def measure_fields(
    found: DetectedSources,
    settings: Mapping[str, Any],
    *,
    seeds: Sequence[int] = (1, 2, 3),
    epochs: int = 60,
    threads: int = 1,
) -> Measured:
    """Train on the cutouts of detected sources and measure what the features tell of them.

    Parameters
    ----------
    found : sources with their cutouts; ``photometry`` holds their fields.
    settings : section ``islands`` of the configuration.
    seeds : of the trainings.
    epochs : of the training.
    threads : CPU threads.

    Raises
    ------
    DataError
        If there are too few sources of either kind to be parted.
    """
    cutouts = found.cutouts
    table = half_light_radii(cutouts)
    field = found.photometry.set_index("id")["field"]
    table["field"] = field.loc[table["id"]].to_numpy()
    bright = (np.isfinite(table["radius_px"]) & (table["snr"] >= LEAST_SNR)).to_numpy()
    threshold = dividing_value(table.loc[bright, "radius_px"].to_numpy())
    extended = (table["radius_px"] > threshold).to_numpy()
    n_extended, n_compact = int((extended & bright).sum()), int((~extended & bright).sum())
    if min(n_extended, n_compact) < N_FOLDS:
        raise DataError(
            f"{n_extended} extended and {n_compact} compact sources are too few to be parted",
            where="measure.fields",
            next_step="give more fields",
        )
    groups = table.loc[bright, "field"].to_numpy()
    start_s = time.perf_counter()
    features = {f"seed {seed}": learnt_features(cutouts, seed, epochs, threads) for seed in seeds}
    seconds = (time.perf_counter() - start_s) / len(seeds)
    no_map = np.zeros((len(cutouts), 2))
    per_seed = np.array(
        [seed_islands(one, no_map, settings["hdbscan"]) for one in features.values()]
    )
    units = [unit_rows(one, centre=bool(settings["centre"])) for one in features.values()]
    labels, _ = one_answer(units, per_seed, no_map, settings)
    features["untrained"] = learnt_features(cutouts, seeds[0], 0, threads)
    rows = {
        name: separation(one[bright], extended[bright], groups) for name, one in features.items()
    }
    islands = pd.DataFrame(
        {
            "island": labels,
            "n": 1,
            "n_extended": (extended & bright).astype(int),
            "n_compact": (~extended & bright).astype(int),
        }
    )
    return Measured(
        n_fields=int(found.photometry["field"].nunique()),
        n_detected=int(found.cutflow["rows_in"].iloc[0]),
        n_cutouts=len(cutouts),
        n_extended=n_extended,
        n_compact=n_compact,
        threshold_px=threshold,
        separation=pd.DataFrame(rows).T,
        islands=islands.groupby("island", as_index=False).sum(),
        seconds=seconds,
    )


def report(measured: Measured) -> str:
    """Return the measurements as text."""
    one = measured
    return (
        f"{one.n_fields} fields: {one.n_detected} sources detected, {one.n_cutouts} cut out\n"
        f"of those with a signal to noise of {LEAST_SNR:g} or more, {one.n_extended} are extended "
        f"and {one.n_compact} compact: half-light radius above or below {one.threshold_px:.2f} px "
        f"= {one.threshold_px * PIXEL_SCALE_ARCSEC:.2f} arcsec, in r + i + z\n"
        f"training and features: {one.seconds:.0f} s per seed\n"
        "how far the two fall apart (silhouettes -1 to 1; area under the ROC of one linear "
        f"direction, {N_FOLDS}-fold by fields)\n{one.separation.round(3).to_string()}\n"
        f"islands that the seeds agree on (-1: none)\n{one.islands.to_string(index=False)}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m archipelago.measure.fields",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="with g.fits.gz, r.fits.gz, ... Y.fits.gz")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[1, 2, 3], help="of the trainings (default: 1 2 3)"
    )
    parser.add_argument("--epochs", type=int, default=60, help="of each (default: 60)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    options = parser.parse_args(arguments)
    try:
        config = yaml.safe_load((_REPOSITORY / "config.yaml").read_text(encoding="utf-8"))
        measured = measure_fields(
            sources(options.folder),
            config["islands"],
            seeds=options.seeds,
            epochs=options.epochs,
            threads=options.threads,
        )
    except ArchipelagoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(report(measured))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
