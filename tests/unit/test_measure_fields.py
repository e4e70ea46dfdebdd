"""Extended and compact sources: their sizes, where they part, how far features part them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from archipelago.base.errors import DataError
from archipelago.base.images import ImageSet
from archipelago.measure.fields import (
    BANDS,
    dividing_value,
    half_light_radii,
    main,
    measure_fields,
    report,
    separation,
    sources,
)


def cutouts(sigmas_px: list[float], counts: float = 4000.0) -> ImageSet:
    """Round Gaussians off the middle of their cutouts, on a sky of 20 counts, with noise."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:28, :28].astype(float)
    images = rng.normal(20.0, 2.0, (len(sigmas_px), 5, 28, 28))
    for image, sigma in zip(images, sigmas_px, strict=True):
        shape = np.exp(-((x - 13.9) ** 2 + (y - 13.2) ** 2) / (2 * sigma**2))
        image += counts * shape / shape.sum()
    ids = np.arange(len(sigmas_px), dtype=np.int64)
    return ImageSet(images.astype(np.float32), ids, BANDS, 0.263, 30.0)


def test_half_light_radius_of_a_gaussian() -> None:
    table = half_light_radii(cutouts([1.4, 1.6, 2.0]))
    # A circle of sqrt(2 ln 2) sigma holds half of a Gaussian.
    np.testing.assert_allclose(
        table["radius_px"], np.sqrt(2 * np.log(2)) * np.array([1.4, 1.6, 2.0]), rtol=0.05
    )
    # Noise of three equal bands' mean in a circle of 7 px.
    sigma = 2.0 / np.sqrt(3) * np.sqrt(np.pi) * 7
    np.testing.assert_allclose(table["snr"], 4000 / sigma, rtol=0.15)
    faint = half_light_radii(cutouts([1.6] * 3, counts=0.0))
    assert (faint["snr"] < 20).all()


def test_where_sizes_are_parted() -> None:
    assert dividing_value(np.array([1.0, 1.1, 1.2, 3.0, 3.1])) == pytest.approx(2.1)
    assert dividing_value(np.array([2.0, 1.0, 1.0, 1.0])) == pytest.approx(1.5)
    with pytest.raises(DataError, match="3 sources whose sizes are all the same"):
        dividing_value(np.array([2.0, 2.0, 2.0]))
    with pytest.raises(DataError, match="0 sources"):
        dividing_value(np.array([]))


def test_separation_of_what_is_apart_and_of_what_is_not() -> None:
    rng = np.random.default_rng(1)
    extended = np.arange(60) % 2 == 0
    groups = np.arange(60) // 4
    noise = rng.normal(size=(60, 20))
    none = separation(noise, extended, groups)
    noise[:, 0] += np.where(extended, 6.0, -6.0)
    apart = separation(noise, extended, groups)
    assert abs(none["silhouette_cosine"]) < 0.05 and abs(none["silhouette_pca"]) < 0.1
    assert 0.2 < none["auc"] < 0.8
    assert apart["silhouette_cosine"] > 0.5 and apart["silhouette_pca"] > 0.3
    assert apart["auc"] == 1.0


def test_absent_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert "g.fits.gz" in capsys.readouterr().err


@pytest.mark.slow
def test_real_sources_train_and_fall_apart(shared_data: Path) -> None:
    config = yaml.safe_load((Path(__file__).parents[2] / "config.yaml").read_text())
    found = sources(shared_data / "des_fields")
    measured = measure_fields(found, config["islands"], seeds=[1], epochs=20)
    assert measured.n_fields == 46 and measured.n_cutouts > 100
    assert min(measured.n_extended, measured.n_compact) > 20
    assert 2.0 < measured.threshold_px < 3.0
    trained = measured.separation.loc["seed 1"]
    assert trained["silhouette_cosine"] > 0.15 and trained["silhouette_pca"] > 0.1
    assert trained["auc"] > 0.85
    assert measured.islands["n"].sum() == measured.n_cutouts
    assert "untrained" in report(measured)
