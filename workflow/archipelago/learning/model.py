"""A trained network with the record of what it was trained on."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import logging
import math
import pickle
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from archipelago.base.arrays import forget_pages
from archipelago.base.errors import ConfigError, InputError
from archipelago.base.files import REMAKE, atomic_path, reading
from archipelago.base.images import ImageSet
from archipelago.learning.network import Network, make_network
from archipelago.learning.scaling import Scaling
from archipelago.learning.settings import LearningSettings

_LOG = logging.getLogger(__name__)

#: Goes up when files of an earlier version can no longer be read.
FORMAT = 1
#: Relative difference of pixel scale or zero point that still counts as the same.
_SAME = 1e-3
_REMAKE = (
    "train again (delete the file and run the rule train), or name a model.pt that the rule train "
    "wrote in learning.model"
)


@dataclasses.dataclass
class Model:
    """A network and what has to be known to use it.

    Attributes
    ----------
    network : encoder and head.
    settings : of the training.
    scaling : how images become network input.
    record : plain values: bands, pixel_scale_arcsec, zero_point_ab, size_px, settings,
        scaling, seed, versions, training_set (SHA-256), n_images, n_usable, batch_size,
        epochs, device, precision, ended (why the training ended), consistency (share of
        images known in a second view, see `archipelago.learning.measures`).
    """

    network: Network
    settings: LearningSettings
    scaling: Scaling
    record: dict[str, Any]


def fingerprint(images: ImageSet) -> str:
    """Return the SHA-256 of a set of images: ids, bands, scales and every pixel."""
    digest = hashlib.sha256()
    head = (images.bands, images.images.shape, images.pixel_scale_arcsec, images.zero_point_ab)
    digest.update(repr(head).encode())
    digest.update(images.ids.tobytes())
    for start in range(0, len(images.ids), 4096):
        digest.update(images.images[start : start + 4096].tobytes())
        forget_pages(images.images)
    return digest.hexdigest()


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that shape the weights."""
    return {name: version(name) for name in ("torch", "lightly")}


def save_model(model: Model, path: str | Path) -> None:
    """Write weights and record, completely or not at all; equal content gives equal bytes."""
    content = {
        "format": FORMAT,
        "record": model.record,
        "weights": {name: value.cpu() for name, value in model.network.state_dict().items()},
    }
    write_torch(content, path)


def write_torch(content: dict[str, Any], path: str | Path) -> None:
    """Write plain values and tensors, completely or not at all.

    Through memory, as torch would write the temporary file's name into the file.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_torch(path: str | Path) -> dict[str, Any]:
    """Read what `write_torch` wrote; runs no code that the file may hold.

    Raises
    ------
    InputError
        If the file cannot be read, is damaged, or holds something else.
    """
    with reading("the file", path, RuntimeError):
        try:
            with warnings.catch_warnings():
                # Another program's pickle: it is refused just after.
                warnings.filterwarnings("ignore", message="Detected pickle protocol")
                content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(
                "it is no file of torch, or holds more than numbers and text; nothing in it was run"
            ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"the file holds a {type(content).__name__}, not a dictionary",
            where=str(path),
            next_step=REMAKE,
        )
    return content


def load_model(path: str | Path) -> Model:
    """Read a model written by `save_model`.

    Libraries of other versions than the training's are told in the log, and no more.

    Raises
    ------
    InputError
        If the file is damaged, of another format, its record lacks a part, or its weights do
        not fit its record or are no numbers.
    """
    content = read_torch(path)
    found = content.get("format")
    if found != FORMAT:
        what = "something else than a model" if found is None else f"a model of format {found!r}"
        newer = isinstance(found, int) and found > FORMAT
        raise InputError(
            f"{what} where {FORMAT} is read",
            where=str(path),
            next_step="use the version of this program that wrote it" if newer else _REMAKE,
        )
    try:
        record = content["record"]
        _check_record(record)
        settings = LearningSettings.from_mapping(record["settings"])
        scaling = Scaling.from_dict(record["scaling"])
        if len(scaling.noise) != len(record["bands"]):
            raise ValueError(f"noise of {len(scaling.noise)} bands for {len(record['bands'])}")
        network = make_network(settings, len(record["bands"]), seed=0)
        network.load_state_dict(content["weights"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, ConfigError) as error:
        reason = f"{error} is absent" if isinstance(error, KeyError) else str(error)
        raise InputError(
            f"the model's weights and record do not fit together: {reason.splitlines()[0]}",
            where=str(path),
            next_step=_REMAKE,
        ) from error
    bad = [name for name, value in network.state_dict().items() if not value.isfinite().all()]
    if bad:
        raise InputError(
            f"weights that are no numbers: {', '.join(bad)}", where=str(path), next_step=_REMAKE
        )
    network.eval()
    for name, now in library_versions().items():
        then = record["versions"].get(name, "of unknown version")
        if then != now:
            _LOG.warning(
                "%s: trained with %s %s, here is %s: features may differ in their last digits",
                path,
                name,
                then,
                now,
            )
    return Model(network, settings, scaling, record)


#: What a record must hold to be used, and of which kind.
_NEEDED: dict[str, type | tuple[type, ...]] = {
    "bands": list,
    "pixel_scale_arcsec": (int, float),
    "zero_point_ab": (int, float),
    "size_px": list,
    "settings": dict,
    "scaling": dict,
    "versions": dict,
    "training_set": str,
}


def _check_record(record: Any) -> None:
    """Raise KeyError, TypeError or ValueError where a record cannot be used."""
    if not isinstance(record, dict):
        raise TypeError(f"the record is a {type(record).__name__}")
    for name, kind in _NEEDED.items():
        if not isinstance(record[name], kind):
            raise TypeError(f"{name} is {record[name]!r}")
    if not record["bands"] or not all(isinstance(band, str) for band in record["bands"]):
        raise ValueError(f"bands is {record['bands']!r}")
    if not (record["pixel_scale_arcsec"] > 0 and math.isfinite(record["zero_point_ab"])):
        raise ValueError("the pixel scale or the zero point is none")


def check_fits(model: Model, images: ImageSet, where: str | Path) -> None:
    """Refuse images that are not of the kind the model was trained on.

    Raises
    ------
    InputError
        Lists each difference in bands (and their order), pixel scale and zero point, and
        what to do about it. Another size is no difference, as long as the crop fits in.
    """
    record = model.record
    problems, steps = [], []
    if tuple(record["bands"]) != images.bands:
        wanted = " ".join(record["bands"])
        problems.append(f"bands {' '.join(images.bands)}, not {wanted}")
        steps.append(f"set images.bands: [{', '.join(record['bands'])}]")
    trained, given = record["pixel_scale_arcsec"], images.pixel_scale_arcsec
    if not math.isclose(trained, given, rel_tol=_SAME):
        problems.append(f"pixel_scale_arcsec {given:g}, not {trained:g} arcsec/px")
        steps.append(f"give images of {trained:g} arcsec/px")
    trained, given = record["zero_point_ab"], images.zero_point_ab
    if not math.isclose(trained, given, rel_tol=0.0, abs_tol=_SAME):
        factor = 10 ** (0.4 * (trained - given))
        problems.append(f"zero_point_ab {given:g}, not {trained:g} mag")
        steps.append(
            f"multiply their counts by {factor:.6g} and set images.zero_point_ab: {trained:g}"
        )
    height, width = images.images.shape[2:]
    crop = model.settings.crop_px
    if min(height, width) < crop:
        problems.append(f"{height} x {width} px, smaller than the crop of {crop} px")
        steps.append(f"set images.size_px to {crop} or more")
    if problems:
        raise InputError(
            f"these images are not of the kind the model was trained on: {'; '.join(problems)}",
            where=str(where),
            next_step=f"{', '.join(steps)}; or train on these images (learning.model: null)",
        )
    if [height, width] != list(record["size_px"]):
        _LOG.info(
            "images of %d x %d px, trained on %s: of both the central %d px are used",
            height,
            width,
            " x ".join(map(str, record["size_px"])),
            crop,
        )


def describe_record(model: Model) -> str:
    """Return what a model was trained on and how, as lines of plain text."""
    record = model.record
    noise = zip(record["bands"], model.scaling.noise, strict=True)
    parts = {
        "format": FORMAT,
        "bands": " ".join(record["bands"]),
        "pixel scale": f"{record['pixel_scale_arcsec']:g} arcsec",
        "zero point": f"{record['zero_point_ab']:g} mag AB",
        "images": " x ".join(map(str, record["size_px"])) + " px",
        "features": model.network.encoder.n_features,
        "trained on": f"{record.get('n_usable')} of {record.get('n_images')} images",
        "training set": f"{record['training_set']} (SHA-256)",
        "seed": record.get("seed"),
        "epochs": f"{record.get('epochs')}, in batches of {record.get('batch_size')}",
        "ended": record.get("ended"),
        "computed on": f"{record.get('device')}, {record.get('precision')}",
        "versions": ", ".join(f"{name} {now}" for name, now in record["versions"].items()),
        "noise": ", ".join(f"{band} {value:.4g}" for band, value in noise) + " counts",
    }
    lines = [f"{name + ':':<15}{value}" for name, value in parts.items()]
    shown = set(_NEEDED) | {"seed", "n_images", "n_usable", "batch_size", "epochs"}
    shown |= {"device", "precision", "ended"}
    lines += [f"{name + ':':<15}{value}" for name, value in record.items() if name not in shown]
    for section in ("scaling", "settings"):
        lines.append(f"{section}:")
        lines += [f"  {name}: {value}" for name, value in record[section].items()]
    return "\n".join(lines)
