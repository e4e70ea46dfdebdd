"""Two-dimensional maps of features, for looking at; nothing is measured on them by default."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from archipelago.base.errors import ConfigError

_LOG = logging.getLogger(__name__)

#: Fewer different objects than this are laid out by their principal components.
SMALLEST_SAMPLE = 16


#: What the columns of a map are.
ABOUT = {
    "id": "identifier of the object",
    "x": "place on the map, no unit; NaN where an image has no content",
    "y": "the same",
}


def has_content(features: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Tell which rows of features (n, d) belong to images with content: the non-zero ones."""
    return np.asarray(np.isfinite(features).all(axis=1) & (features != 0).any(axis=1))


def make_map(
    ids: NDArray[np.int64], features: NDArray[np.float32], settings: Mapping[str, Any]
) -> pd.DataFrame:
    """Lay features out in a plane.

    Parameters
    ----------
    ids : (n,) identifiers.
    features : (n, d) of norm 1; rows of zeros (images without content) get NaN.
    settings : method (``umap``, ``tsne`` or ``pca``), random_state; for UMAP n_neighbors,
        min_dist, metric; for t-SNE perplexity, metric.

    Returns
    -------
    DataFrame
        id, x, y (no unit), sorted by id. Any n is allowed.
    """
    order = np.argsort(ids, kind="stable")
    ids, features = ids[order], features[order]
    content = has_content(features)
    place = np.full((len(ids), 2), np.nan)
    place[content] = embed(features[content], 2, settings)
    return pd.DataFrame({"id": ids.astype("int64"), "x": place[:, 0], "y": place[:, 1]})


def embed(
    features: NDArray[np.float32], n_dimensions: int, settings: Mapping[str, Any]
) -> NDArray[np.float64]:
    """Return features (n, d) in ``n_dimensions``, the same for the same random state.

    Fewer than `SMALLEST_SAMPLE` different rows have no neighbourhoods to keep; their
    principal components are returned, and the log says so.

    Raises
    ------
    ConfigError
        If the method is unknown.
    """
    method = settings["method"]
    if method not in ("umap", "tsne", "pca"):
        raise ConfigError(
            f"unknown method {method!r}",
            where="islands.map.method",
            next_step="use umap, tsne or pca",
        )
    n_different = len(np.unique(features, axis=0)) if len(features) else 0
    if method != "pca" and n_different < SMALLEST_SAMPLE:
        _LOG.info(
            "%d different objects are too few for %s: principal components are shown",
            n_different,
            method,
        )
        method = "pca"
    if method == "pca":
        return principal_components(features, n_dimensions)
    embedding = _umap if method == "umap" else _tsne
    return embedding(features, n_dimensions, settings).astype(np.float64)


def principal_components(features: NDArray[np.floating], n_dimensions: int) -> NDArray[np.float64]:
    """Return the first principal components (n, n_dimensions), zeros where there are fewer.

    Each component's sign is such that its entry of largest size is positive.
    """
    result = np.zeros((len(features), n_dimensions))
    if len(features) < 2:
        return result
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    scores = (left * values)[:, :n_dimensions]
    largest = np.abs(scores).argmax(axis=0)
    sign = np.where(scores[largest, np.arange(scores.shape[1])] < 0, -1.0, 1.0)
    result[:, : scores.shape[1]] = scores * sign
    return result


def _umap(
    features: NDArray[np.float32], n_dimensions: int, settings: Mapping[str, Any]
) -> NDArray[np.float32]:
    with warnings.catch_warnings():
        # The optional TensorFlow is not used.
        warnings.filterwarnings(
            "ignore", message="Tensorflow not installed", category=ImportWarning
        )
        import umap

        # Parts of the graph that do not hang together are expected: islands.
        warnings.filterwarnings("ignore", message=".*not fully connected.*", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*spectral initiali[sz]ation failed.*")
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="scipy")
        model = umap.UMAP(
            n_components=n_dimensions,
            n_neighbors=min(int(settings["n_neighbors"]), len(features) - 1),
            min_dist=float(settings["min_dist"]),
            metric=settings["metric"],
            random_state=int(settings["random_state"]),
            n_jobs=1,  # what a fixed random state allows
        )
        return model.fit_transform(features)


def _tsne(
    features: NDArray[np.float32], n_dimensions: int, settings: Mapping[str, Any]
) -> NDArray[np.float32]:
    from sklearn.manifold import TSNE

    largest = (len(features) - 1) / 3.0
    perplexity = float(settings["perplexity"])
    if perplexity > largest:
        _LOG.info(
            "perplexity %.3g lowered to %.3g for %d objects", perplexity, largest, len(features)
        )
        perplexity = largest
    model = TSNE(
        n_components=n_dimensions,
        perplexity=perplexity,
        metric=settings["metric"],
        random_state=int(settings["random_state"]),
        init="pca",
        method="barnes_hut" if n_dimensions < 4 else "exact",
    )
    return model.fit_transform(features)
