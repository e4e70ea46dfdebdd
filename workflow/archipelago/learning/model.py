"""A trained network with the record of what it was trained on."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import math
import pickle
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from archipelago.base.errors import ConfigError, InputError
from archipelago.base.files import REMAKE, atomic_path, reading
from archipelago.base.images import ImageSet
from archipelago.learning.network import Network, make_network
from archipelago.learning.scaling import Scaling
from archipelago.learning.settings import LearningSettings

#: Goes up when files of an earlier version can no longer be read.
FORMAT = 1
#: Relative difference of pixel scale or zero point that still counts as the same.
_SAME = 1e-3


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
        epochs, device, precision, ended (why the training ended).
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
    with reading("the file", path, RuntimeError, pickle.UnpicklingError):
        content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise InputError(
            f"the file holds a {type(content).__name__}, not a dictionary",
            where=str(path),
            next_step=REMAKE,
        )
    return content


def load_model(path: str | Path) -> Model:
    """Read a model written by `save_model`.

    Raises
    ------
    InputError
        If the file is damaged, of another format, or its weights do not fit its record.
    """
    content = read_torch(path)
    remake = "train again: delete the file and run the rule train"
    if content.get("format") != FORMAT:
        raise InputError(
            f"a model of format {content.get('format')!r} where {FORMAT} is read",
            where=str(path),
            next_step=remake,
        )
    try:
        record = content["record"]
        settings = LearningSettings.from_mapping(record["settings"])
        scaling = Scaling.from_dict(record["scaling"])
        network = make_network(settings, len(record["bands"]), seed=0)
        network.load_state_dict(content["weights"])
    except (KeyError, TypeError, RuntimeError, ConfigError) as error:
        raise InputError(
            f"the model's weights and record do not fit together: {str(error).splitlines()[0]}",
            where=str(path),
            next_step=remake,
        ) from error
    network.eval()
    return Model(network, settings, scaling, record)


def check_fits(model: Model, images: ImageSet, where: str | Path) -> None:
    """Refuse images that are not of the kind the model was trained on.

    Raises
    ------
    InputError
        Lists each difference in bands (and their order), pixel scale and zero point.
        Another size is no difference, as long as the crop fits in.
    """
    record = model.record
    problems = []
    if tuple(record["bands"]) != images.bands:
        problems.append(f"bands {' '.join(images.bands)}, not {' '.join(record['bands'])}")
    for name, unit in (("pixel_scale_arcsec", "arcsec/px"), ("zero_point_ab", "mag")):
        trained, given = record[name], getattr(images, name)
        if not math.isclose(trained, given, rel_tol=_SAME):
            problems.append(f"{name} {given:g}, not {trained:g} {unit}")
    if problems:
        raise InputError(
            f"these images are not of the kind the model was trained on: {'; '.join(problems)}",
            where=str(where),
            next_step="give images like the training set's, or train a model on these",
        )
