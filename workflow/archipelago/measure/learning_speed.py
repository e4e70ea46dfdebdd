"""How fast networks are trained, and with how much memory: ``make bench-learning``.

Everything in one run, on stamps of a demo sky, repeated as often as a size asks for:

- single-precision matrix products at their fastest (the larger of torch's and numpy's), and which
  part of that rate the training reaches, with every floating-point operation of the network's
  convolutions and linear layers counted, forward and backward;
- the part of a step that random views take;
- images per second beside the usual way: torchvision's transforms image by image, a data loader,
  single precision, lightly's loss, the same network;
- the rate of images that are streamed from a file beside those in memory;
- memory and time for several numbers of images, and what follows for a million;
- where there is a GPU, the time of an epoch of 7,016 images and the rate of 100,000 streamed ones.

Times of a step are those of the fastest of several, as the products' are, and steps of both ways
take turns, so that other work on the machine harms neither the shares nor the ratios. Where there
is much of it, ``--cpu-time --threads 1`` counts the time of this process alone, and the data loader
of the usual way has no workers.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from archipelago.base.images import ImageSet, load_images, write_images
from archipelago.demosky.sky import build_sky
from archipelago.learning.augment import make_augmentation
from archipelago.learning.compat import NTXentLoss
from archipelago.learning.devices import describe, exact, pick_device
from archipelago.learning.model import fingerprint
from archipelago.learning.network import make_network
from archipelago.learning.scaling import Scaling, measure_scaling
from archipelago.learning.settings import LearningSettings
from archipelago.learning.shards import CleanImages, Resident, Streamed, shuffled
from archipelago.learning.training import _Run
from archipelago.measure.sky_images import sky_images

_REPOSITORY = Path(__file__).resolve().parents[3]

#: Objects of the demo sky that are painted; larger sets repeat them.
N_STAMPS = 400
#: Images of the paper's search, and the largest set asked for.
PAPER_IMAGES, MOST_IMAGES = 7_016, 1_000_000
#: Sides of the square matrices whose product is timed.
_SIDES = (1024, 2048)


def training_flops(
    settings: LearningSettings, n_bands: int, *, encoder_only: bool = False
) -> float:
    """Return the floating-point operations of one view in a training step.

    A multiplication and an addition each count. Forward: 2 x weights x output pixels of each
    convolution, 2 x weights of each linear layer of the head. Backward: as many for the gradients
    of the weights, and as many for those of the inputs, which the first convolution does not
    need. Pooling, activations, the loss and the optimiser do not count.

    Parameters
    ----------
    settings : crop, channels, kernels and head are used.
    n_bands : planes of an image.
    encoder_only : leave the head out.
    """
    total = 0.0
    side, before = settings.crop_px, n_bands
    for number, (after, kernel) in enumerate(
        zip(settings.channels, settings.kernels_px, strict=True)
    ):
        side = side - kernel + 1
        products = 2.0 * after * before * kernel**2 * side**2
        total += products * (2 if number == 0 else 3)
        side, before = side // 2, after
    if encoder_only:
        return total
    width = before * side**2
    for after in settings.head:
        total += 3 * 2.0 * width * after
        width = after
    return total


def straight_line(x: Sequence[float], y: Sequence[float], at: float) -> float:
    """Return the value at ``at`` of the straight line that fits the points best."""
    slope, start = np.polyfit(np.asarray(x, dtype=float), np.asarray(y, dtype=float), 1)
    return float(start + slope * at)


#: Returns seconds: of the wall, or of this process's CPU.
Clock = Callable[[], float]


def seconds_of(act: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Return the time that ``act`` took [s]."""
    start_s = clock()
    act()
    return clock() - start_s


def fastest_s(act: Callable[[], object], repeats: int, clock: Clock = time.perf_counter) -> float:
    """Return the shortest time that ``act`` took [s], after a first time that does not count."""
    act()
    return min(seconds_of(act, clock) for _ in range(repeats))


def peak_flops(
    threads: int, dtype: torch.dtype = torch.float32, clock: Clock = time.perf_counter
) -> float:
    """Return the highest rate of matrix products seen [1/s]; single precision also by numpy."""
    rates = []
    for side in _SIDES:
        one, other = torch.randn(2, side, side).to(dtype)
        rates.append(2.0 * side**3 / fastest_s(lambda a=one, b=other: a @ b, 4, clock))  # type: ignore[misc]
        if dtype is torch.float32:
            pair = one.numpy(), other.numpy()
            with threadpool_limits(threads):
                rates.append(2.0 * side**3 / fastest_s(lambda p=pair: p[0] @ p[1], 4, clock))  # type: ignore[misc]
    return max(rates)


def preset(name: str) -> LearningSettings:
    """Return the settings of ``config.yaml``, or of it with a preset over it."""
    values = yaml.safe_load((_REPOSITORY / "config.yaml").read_text())["learning"]
    if name != "default":
        path = _REPOSITORY / "data" / "presets" / f"{name}.yaml"
        values |= yaml.safe_load(path.read_text())["learning"]
    return LearningSettings.from_mapping(values)


def write_tiled(path: Path, stamps: ImageSet, n: int) -> None:
    """Write ``n`` cutouts, the stamps over and over."""

    def chunks() -> Iterator[NDArray[np.float32]]:
        for start in range(0, n, len(stamps)):
            yield stamps.images[: min(len(stamps), n - start)]

    write_images(
        path,
        chunks(),
        stamps.images.shape[1:],
        np.arange(n),
        stamps.bands,
        stamps.pixel_scale_arcsec,
        stamps.zero_point_ab,
    )


def make_run(
    settings: LearningSettings,
    images: ImageSet,
    pixels: CleanImages,
    scaling: Scaling,
    device: torch.device,
) -> _Run:
    """Return a training that is about to begin, as `archipelago.learning.training.train` does."""
    run = _Run(
        settings=settings,
        seed=1,
        scaling=scaling,
        device=device,
        bands=len(images.bands),
        augmentation=make_augmentation(settings, images.pixel_scale_arcsec),
        batch_size=min(settings.batch_size, len(pixels)),
        n_images=len(pixels),
        path=Path("unused"),
        training_set="",
    )
    run.generator.manual_seed(1)
    run.network.train()
    return run


class UsualWay:
    """Training as it is usually written: the same network, image by image.

    Parameters
    ----------
    settings : network, loss, optimiser, size of batch and augmentation.
    prepared : (n, band, y, x) float32, scaled once before.
    scaling : what is left to do after the augmentation is done image by image.
    blur_px : most blur, FWHM [px].
    workers : processes of the data loader.
    """

    def __init__(
        self,
        settings: LearningSettings,
        prepared: torch.Tensor,
        scaling: Scaling,
        blur_px: float,
        workers: int,
    ) -> None:
        transforms: Any = import_module("torchvision.transforms")
        side = settings.crop_px
        bilinear = transforms.InterpolationMode.BILINEAR
        part = settings.shift_max_px / side
        flips = [transforms.RandomHorizontalFlip(), transforms.RandomVerticalFlip()]
        if settings.augmentation == "paper":
            steps = [
                transforms.RandomCrop(side),
                *flips,
                transforms.RandomAffine(0, translate=(part, part), interpolation=bilinear),
                transforms.RandomRotation(180, interpolation=bilinear),
            ]
        else:
            steps = [
                *flips,
                transforms.RandomAffine(180, translate=(part, part), interpolation=bilinear),
                transforms.CenterCrop(side),
            ]
            if blur_px > 0:
                steps.append(transforms.GaussianBlur(7, sigma=(0.05, blur_px / 2.355)))
            if settings.noise_max_sigma > 0:
                steps.append(
                    lambda image: (
                        image + settings.noise_max_sigma * torch.rand(1) * torch.randn_like(image)
                    )
                )
            steps.append(lambda image: scaling.finish(image[None])[0])
        view = transforms.Compose(steps)
        items = _Pairs(prepared, view)
        self._loader = torch.utils.data.DataLoader(
            items,
            batch_size=settings.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        self._network = make_network(settings, prepared.shape[1], 1)
        self._loss = NTXentLoss(temperature=settings.temperature)
        parameters = self._network.parameters()
        self._optimiser: torch.optim.Optimizer = (
            torch.optim.SGD(parameters, lr=1e-3)
            if settings.optimiser == "sgd"
            else torch.optim.AdamW(parameters, lr=1e-3)
        )

    def steps(self) -> Iterator[None]:
        """Take one step each time that it is asked."""
        while True:
            for one, other in self._loader:
                self._optimiser.zero_grad()
                _, first = self._network(one)
                _, second = self._network(other)
                loss = self._loss(first, second)
                loss.backward()
                self._optimiser.step()
                yield


class _Pairs(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Two random views of one image at a time."""

    def __init__(self, images: torch.Tensor, view: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._images = images
        self._view = view

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self._view(self._images[number]), self._view(self._images[number])


@dataclasses.dataclass(frozen=True)
class Speed:
    """Speed of one network's training.

    Attributes
    ----------
    images_per_s : of our steps, fastest.
    flops : rate of the network's operations in a whole step [1/s].
    views_share : part of a step that the random views take.
    usual_images_per_s : of the usual way, with the faster of its numbers of workers.
    usual_workers : that number.
    """

    images_per_s: float
    flops: float
    views_share: float
    usual_images_per_s: float
    usual_workers: int

    @property
    def ratio(self) -> float:
        """Times as fast as the usual way."""
        return self.images_per_s / self.usual_images_per_s


def measure_speed(
    settings: LearningSettings, images: ImageSet, threads: int, seconds: float, clock: Clock
) -> Speed:
    """Time our steps and the usual way's on the CPU, in turns.

    Parameters
    ----------
    settings : network, augmentation, size of batch, precision.
    images : some batches of them.
    threads : CPU threads, and workers of the data loader where it has any.
    seconds : about how long each of the three is timed.
    clock : of the CPU's time: without workers.
    """
    device = torch.device("cpu")
    pixels = CleanImages(images.images)
    scaling = measure_scaling(pixels, settings, images.pixel_scale_arcsec)  # type: ignore[arg-type]
    run = make_run(settings, images, pixels, scaling, device)
    source = Resident(pixels, scaling, device)
    first = next(source.batches(shuffled(len(pixels), 1), run.batch_size, 0, slice(None)))
    prepared = scaling.prepare(torch.from_numpy(pixels[0 : len(pixels)]))
    blur_px = settings.blur_fwhm_max_arcsec / images.pixel_scale_arcsec
    usual = {
        workers: UsualWay(settings, prepared, scaling, blur_px, workers).steps()
        for workers in ({0} if clock is time.process_time else {0, threads})
    }
    ours: list[float] = []
    views: list[float] = []
    theirs: dict[int, list[float]] = {workers: [] for workers in usual}
    timed_views = run._views

    def views_timed(batch: torch.Tensor) -> torch.Tensor:
        start_s = clock()
        made = timed_views(batch)
        views.append(clock() - start_s)
        return made

    run._views = views_timed  # type: ignore[method-assign]
    end_s = time.perf_counter() + 3 * seconds
    with exact(threads):
        while time.perf_counter() < end_s or len(ours) < 6:
            for _ in range(3):
                ours.append(seconds_of(lambda: run._step(first, 1e-3), clock))
            # Workers make batches ahead: several in a row, so that those count as well.
            for workers, steps in usual.items():
                n_steps = max(2, 2 * workers)
                spent = seconds_of(lambda s=steps, n=n_steps: list(itertools.islice(s, n)), clock)  # type: ignore[misc]
                theirs[workers].append(spent / n_steps)
    best = {workers: min(times[1:] or times) for workers, times in theirs.items()}
    workers = min(best, key=lambda number: best[number])
    step_s = min(ours)
    flops = 2 * run.batch_size * training_flops(settings, len(images.bands))
    return Speed(
        images_per_s=run.batch_size / step_s,
        flops=flops / step_s,
        views_share=min(views) / step_s,
        usual_images_per_s=run.batch_size / best[workers],
        usual_workers=workers,
    )


def measure_size(
    path: Path, *, streamed: bool, n_steps: int, threads: int, clock: Clock
) -> dict[str, float]:
    """Train some steps on a file, in a process of its own; return times and memory.

    Returns
    -------
    dict
        ``n``; ``start_s``: reading, cleaning, measuring, the fingerprint, and preparing where
        all are in memory; ``images_per_s`` over all steps, reading in shards included;
        ``steps``; ``peak_mb``: most memory of the process [2^20 bytes].
    """
    settings = preset("default")
    device = pick_device()
    start_s = clock()
    images = load_images(path, memory_map=True)
    pixels = CleanImages(images.images)
    scaling = measure_scaling(pixels, settings, images.pixel_scale_arcsec)  # type: ignore[arg-type]
    fingerprint(images)
    run = make_run(settings, images, pixels, scaling, device)
    with exact(threads):
        source = (Streamed if streamed else Resident)(pixels, scaling, device)
        ready_s = clock()
        n_done = 0
        for number in itertools.count():
            order = shuffled(len(pixels), number)
            for batch in source.batches(order, run.batch_size, 0, slice(None)):
                run._step(batch, 1e-3)
                n_done += 1
                if n_done == n_steps:
                    break
            if n_done == n_steps:
                break
        end_s = clock()
    return {
        "n": len(images),
        "start_s": ready_s - start_s,
        "images_per_s": n_done * run.batch_size / (end_s - ready_s),
        "steps": n_done,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
    }


def _in_another_process(
    path: Path, *, streamed: bool, n_steps: int, threads: int, clock: Clock
) -> dict[str, float]:
    options = ["--one", str(path), "--steps", str(n_steps), "--threads", str(threads)]
    if clock is time.process_time:
        options.append("--cpu-time")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "archipelago.measure.learning_speed",
            *options,
            *(["--streamed"] if streamed else []),
        ],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    return json.loads(done.stdout)


def verdict(value: float, asked: float, *, most: bool = False) -> str:
    """Return the figure asked for and whether it is met."""
    met = value <= asked if most else value >= asked
    return f"{'at most' if most else 'at least'} {asked:g}: {'met' if met else 'NOT MET'}"


def report_speeds(images: ImageSet, threads: int, seconds: float, clock: Clock) -> None:
    """Measure and print the shares of the peak, of the views, and the ratios."""
    with exact(threads):
        peak = peak_flops(threads, clock=clock)
        peak_bf16 = peak_flops(threads, torch.bfloat16, clock)
    print(f"single-precision products at most {peak / 1e9:.0f} GFLOP/s, ", end="")
    print(f"bfloat16 {peak_bf16 / 1e9:.0f}", flush=True)
    units = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    asked_ratio = 2.5 if units else 1.5
    paper_bf16 = dataclasses.replace(preset("paper"), precision="auto")
    for name, settings in (
        ("default", preset("default")),
        ("paper's network, precision auto", paper_bf16),
        ("paper, to the letter", preset("paper")),
    ):
        speed = measure_speed(settings, images, threads, seconds, clock)
        gflop = training_flops(settings, len(images.bands)) / 1e9
        channels = "/".join(map(str, settings.channels))
        print(
            f"\n{name}: {channels} channels, batches of {settings.batch_size}, "
            f"{settings.precision}, {gflop:.4f} GFLOP per view and step"
        )
        share = speed.flops / peak
        print(f"  whole step        {speed.images_per_s:9.0f} images/s")
        print(f"  share of the peak {share:9.2f}   {verdict(share, 0.6)}")
        print(f"  random views      {speed.views_share:9.3f} of a step   ", end="")
        print(verdict(speed.views_share, 0.1, most=True))
        print(
            f"  the usual way     {speed.usual_images_per_s:9.0f} images/s "
            f"({speed.usual_workers} workers)"
        )
        print(f"  ratio             {speed.ratio:9.2f}   {verdict(speed.ratio, asked_ratio)}")
        sys.stdout.flush()


def report_sizes(
    stamps: ImageSet,
    sizes: Sequence[int],
    n_steps: int,
    threads: int,
    clock: Clock,
    folder: Path,
) -> None:
    """Measure and print memory and time by number of images, in memory and streamed."""
    print(f"\nconfig.yaml's network, {n_steps} steps each; an epoch is reckoned from their rate")
    print("   images  way        start s  images/s  epoch s  peak MB")
    rows: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    for n in sizes:
        path = folder / f"images-{n}.npz"
        write_tiled(path, stamps, n)
        for streamed in (False, True):
            row = _in_another_process(
                path, streamed=streamed, n_steps=n_steps, threads=threads, clock=clock
            )
            rows[streamed].append(row)
            _print_row(streamed, row)
        path.unlink()
    for streamed in (False, True):
        line = {
            name: straight_line(
                [row["n"] for row in rows[streamed]],
                [row[name] for row in rows[streamed]],
                MOST_IMAGES,
            )
            for name in ("start_s", "peak_mb")
        }
        if streamed:
            # Two shards are in memory, whatever the number of images beyond them.
            line["peak_mb"] = max(row["peak_mb"] for row in rows[streamed])
        rate = rows[streamed][-1]["images_per_s"]
        _print_row(streamed, {"n": MOST_IMAGES, "images_per_s": rate, **line}, "reckoned")
    ratio = rows[True][-1]["images_per_s"] / rows[False][-1]["images_per_s"]
    print(f"streamed beside in memory, {sizes[-1]} images: {ratio:.2f}   {verdict(ratio, 0.8)}")


def _print_row(streamed: bool, row: dict[str, float], note: str = "") -> None:
    epoch_s = row["n"] / row["images_per_s"]
    print(
        f"{row['n']:9.0f}  {'streamed ' if streamed else 'in memory'} {row['start_s']:8.1f} "
        f"{row['images_per_s']:9.0f} {epoch_s:8.1f} {row['peak_mb']:8.0f}  {note}",
        flush=True,
    )


def report_gpu(stamps: ImageSet, folder: Path) -> None:
    """Measure and print an epoch of 7,016 images on a GPU, and the rate of streamed ones."""
    device = pick_device()
    settings = preset("paper")
    print(f"\n{describe(device, torch.bfloat16)}")
    for n in (PAPER_IMAGES, 100_000):
        path = folder / f"images-{n}.npz"
        write_tiled(path, stamps, n)
        images = load_images(path, memory_map=True)
        pixels = CleanImages(images.images)
        for name in ("default", "paper"):
            settings = dataclasses.replace(preset(name), precision="auto")
            scaling = measure_scaling(pixels, settings, images.pixel_scale_arcsec)  # type: ignore[arg-type]
            rates = []
            for kind in (Resident, Streamed):
                run = make_run(settings, images, pixels, scaling, device)
                source = kind(pixels, scaling, device)
                with exact(1):
                    epoch_s = fastest_s(partial(_epoch, run, source, len(pixels)), 2)
                rates.append(len(pixels) / epoch_s)
            print(
                f"{n:9d} images, {name}: an epoch {len(pixels) / rates[0]:.2f} s in memory, "
                f"streamed at {rates[1] / rates[0]:.2f} of that rate"
            )
        path.unlink()


def _epoch(run: _Run, source: Resident | Streamed, n: int) -> None:
    for batch in source.batches(shuffled(n, 1), run.batch_size, 0, slice(None)):
        run._step(batch, 1e-3)
    torch.cuda.synchronize()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--sizes", type=int, nargs="+", default=[7_000, 30_000, 100_000])
    parser.add_argument("--steps", type=int, default=192, help="steps for each size")
    parser.add_argument("--seconds", type=float, default=8.0, help="of timing for each way")
    parser.add_argument("--cpu-time", action="store_true", help="time of this process's CPU")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--streamed", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if options.cpu_time and options.threads != 1:
        parser.error("--cpu-time counts waiting threads too: give --threads 1")
    clock: Clock = time.process_time if options.cpu_time else time.perf_counter
    if options.one is not None:
        row = measure_size(
            options.one,
            streamed=options.streamed,
            n_steps=options.steps,
            threads=options.threads,
            clock=clock,
        )
        print(json.dumps(row))
        return
    start_s = time.perf_counter()
    sky = build_sky(1)
    stamps = sky_images(sky, sky.truth.head(N_STAMPS))
    print(f"CPU with {options.threads} threads, torch {torch.__version__}, {len(stamps)} stamps")
    with tempfile.TemporaryDirectory(prefix="archipelago-bench-") as name:
        some = Path(name) / "some.npz"
        write_tiled(some, stamps, 2048)
        report_speeds(load_images(some), options.threads, options.seconds, clock)
        report_sizes(
            stamps, sorted(options.sizes), options.steps, options.threads, clock, Path(name)
        )
        if torch.cuda.is_available():
            report_gpu(stamps, Path(name))
    print(f"took {time.perf_counter() - start_s:.0f} s")


if __name__ == "__main__":
    main()
