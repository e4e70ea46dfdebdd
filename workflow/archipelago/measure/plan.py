"""What searches of several sizes cost, reckoned from measurements of every rule.

Between measured sizes numbers are interpolated; beyond the largest, CPU time goes on with the
exponent of the last two sizes, but at least in proportion to the number of objects, and memory
and files in proportion. Where one size alone was measured, CPU time and files are in proportion
to the objects, and memory is the same; rules that do the same work for any number take as much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from archipelago.base.errors import InputError

if TYPE_CHECKING:
    from archipelago.measure.resources import Measured


@dataclass(frozen=True)
class Search:
    """The size of a search.

    Parameters
    ----------
    name : what it is.
    n_queried : rows that the survey's catalogue gives.
    n_matched : rows with partners in all catalogues.
    n_objects : objects left after the cuts.
    n_images : of them with images.
    tiles : sky tiles, each a chain of jobs.
    seeds, epochs : networks, and epochs of each.
    shards, shortlist : jobs and objects of the posteriors.
    simulated : simulated objects of each of two kinds that likeness is judged by.
    taught : of them, those of each kind that lens evidence is taught with.
    charts : finding charts.
    """

    name: str
    n_queried: int
    n_matched: int
    n_objects: int
    n_images: int
    tiles: int
    seeds: int = 5
    epochs: int = 100
    shards: int = 10
    shortlist: int = 20
    simulated: int = 5000
    taught: int = 1000
    charts: int = 50


#: DES DR2 as Byrne et al. (2024) report it, in 52 tiles of HEALPix order 2 (config.yaml).
DES_DR2 = Search("DES DR2", 218_241, 116_499, 7_438, 7_018, 52)
#: Ten times more objects in the same tiles of order 2: the numbers of DES DR2 times ten.
TEN_TIMES = Search("10 x", 2_182_410, 1_164_990, 74_380, 70_180, 52)
#: A thousand times more, as for the survey of the Rubin Observatory. Assumed: 18,000 square
#: degrees, so some 1,350 tiles of order 4 (13.4 square degrees each).
THOUSAND_TIMES = Search("1000 x", 218_241_000, 116_499_000, 7_438_000, 7_018_000, 1_350)
SEARCHES = (DES_DR2, TEN_TIMES, THOUSAND_TIMES)

#: Seconds per request of the image service (31,000 cutouts of Byrne et al. 2024, one by one).
REQUEST_S = 2.8
#: Connections of one job (config.yaml, services.connections).
CONNECTIONS = 8
#: Requests per object: one list of images and a cutout in five bands.
REQUESTS_PER_OBJECT = 6
#: Requests per tile: one query; one cross-match with each of two catalogues.
QUERY_REQUESTS, MATCH_REQUESTS = 1, 2
#: Published time of an epoch of DES DR2's images on a GPU (Byrne et al. 2024, Colab) [s].
GPU_EPOCH_S = 8.0

# What a rule's n_objects counts (`archipelago.measure.cases`).
_QUERIED = ("catalogue", "losses", "recall")
_PER_TILE_QUERIED = ("select", "match", "photometry")
_IMAGES = ("images", "train", "features", "map", "islands", "recognise", "lens_evidence")
#: Rules that do the same work whatever the number of objects.
_FIXED = ("known_quasars", "templates", "posteriors", "published_fit", "simulate", "finding_charts")
#: Rules of every search that starts from a survey's services, in their order.
RULES = (
    *("select", "match", "photometry", "cutouts", "known_quasars", "catalogue", "images"),
    *("train", "features", "map", "templates", "sed", "islands"),
    *("simulate", "simulated_features", "recognise", "lens_evidence"),
    *("candidates", "exports", "finding_charts", "posteriors", "losses", "report"),
)


@dataclass(frozen=True)
class Growth:
    """How a rule grows with the number of objects.

    Parameters
    ----------
    sizes : numbers of objects measured, ascending.
    cpu_seconds, memory_mb, output_mb : at those sizes.
    fixed : whether it does the same work for any number of objects.
    """

    sizes: tuple[float, ...]
    cpu_seconds: tuple[float, ...]
    memory_mb: tuple[float, ...]
    output_mb: tuple[float, ...]
    fixed: bool = False

    @property
    def exponent(self) -> float:
        """Exponent of CPU time between the two largest sizes; NaN if there is one size."""
        return _exponent(self.sizes, self.cpu_seconds)

    @property
    def kb_per_object(self) -> float:
        """Memory per object between the smallest and the largest size [kB]; NaN for one size."""
        if len(self.sizes) < 2:
            return math.nan
        return (self.memory_mb[-1] - self.memory_mb[0]) / (self.sizes[-1] - self.sizes[0]) * 1024.0

    def cpu_at(self, n: float) -> float:
        """Return CPU time for ``n`` objects [s]."""
        if n > self.sizes[-1] and not self.fixed:
            exponent = 1.0 if len(self.sizes) < 2 else max(self.exponent, 1.0)
            return self.cpu_seconds[-1] * (n / self.sizes[-1]) ** exponent
        return _between(self.sizes, self.cpu_seconds, n)

    def memory_at(self, n: float) -> float:
        """Return the peak of memory for ``n`` objects [MB of 2^20 bytes]."""
        return _line(self.sizes, self.memory_mb, n)

    def output_at(self, n: float) -> float:
        """Return the size of the output for ``n`` objects [MB of 2^20 bytes]."""
        if len(self.sizes) < 2 and not self.fixed:
            return self.output_mb[0] * n / self.sizes[0]
        return _line(self.sizes, self.output_mb, n)


def _exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    if len(sizes) < 2:
        return math.nan
    return math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])


def _between(sizes: Sequence[float], values: Sequence[float], n: float) -> float:
    """Value at ``n``, along straight lines; beyond the ends that of the end."""
    if n <= sizes[0]:
        return values[0]
    for k in range(1, len(sizes)):
        if n <= sizes[k]:
            share = (n - sizes[k - 1]) / (sizes[k] - sizes[k - 1])
            return values[k - 1] + share * (values[k] - values[k - 1])
    return values[-1]


def _line(sizes: Sequence[float], values: Sequence[float], n: float) -> float:
    """Value at ``n``, going on beyond the largest size with the slope over all sizes."""
    if len(sizes) < 2 or n <= sizes[-1]:
        return _between(sizes, values, n)
    slope = (values[-1] - values[0]) / (sizes[-1] - sizes[0])
    return values[-1] + max(slope, 0.0) * (n - sizes[-1])


def growths(rows: Sequence[Measured]) -> dict[str, Growth]:
    """Return the growth of each rule: of several measurements at one size the largest.

    CPU time is per unit of work. Rows of ``script`` are preferred, for they have all sizes.

    Raises
    ------
    InputError
        If nothing was measured.
    """
    if not rows:
        raise InputError("no measurement", next_step="make bench-resources")
    found = {}
    for rule in dict.fromkeys(row.rule for row in rows):
        mine = [row for row in rows if row.rule == rule]
        mine = [row for row in mine if row.source == "script"] or mine
        sizes = sorted({row.n_objects for row in mine})
        found[rule] = Growth(
            tuple(float(n) for n in sizes),
            _largest(mine, sizes, lambda row: row.cpu_seconds / row.work),
            _largest(mine, sizes, lambda row: row.max_rss_mb),
            _largest(mine, sizes, lambda row: row.output_mb),
            fixed=rule in _FIXED,
        )
    return found


def _largest(
    rows: Sequence[Measured], sizes: Sequence[int], value: Callable[[Measured], float]
) -> tuple[float, ...]:
    """Largest value at each size."""
    return tuple(max(value(row) for row in rows if row.n_objects == n) for n in sizes)


@dataclass(frozen=True)
class Cost:
    """What one rule costs in a search.

    Parameters
    ----------
    rule : its name.
    jobs : how many.
    core_h : of all its jobs; CPU time, or waiting time where a job waits for a service [h].
    gpu_h : of all its jobs on a GPU, instead of core_h; NaN where none is used [h].
    memory_mb : peak of one job [MB of 2^20 bytes].
    disk_gb : output of all its jobs [1e9 bytes].
    requests : to services.
    """

    rule: str
    jobs: int
    core_h: float
    gpu_h: float
    memory_mb: float
    disk_gb: float
    requests: int = 0


#: What goes through a rule: jobs, and objects per job, for a search.
def _share(rule: str, search: Search) -> tuple[int, float]:
    if rule in _PER_TILE_QUERIED:
        return search.tiles, search.n_queried / search.tiles
    if rule == "cutouts":
        return search.tiles, search.n_objects / search.tiles
    if rule in _QUERIED:
        return 1, float(search.n_queried)
    if rule in ("train", "features", "map"):
        return search.seeds, float(search.n_images)
    if rule == "simulated_features":
        return search.seeds, 2.0 * search.simulated
    if rule in _IMAGES:
        return 1, float(search.n_images)
    if rule == "posteriors":
        return search.shards, float(search.n_objects)
    return 1, float(search.n_objects)


def _work(search: Search) -> dict[str, int]:
    """Return units of work of the rules whose CPU time goes with them (`measure.cases`)."""
    return {
        "simulate": search.simulated,
        "recognise": search.seeds,
        "lens_evidence": 2 * search.taught,
        "finding_charts": search.charts,
    }


def cost(rule: str, search: Search, growth: Growth) -> Cost:
    """Return what a rule costs in a search."""
    jobs, n = _share(rule, search)
    seconds = growth.cpu_at(n)
    requests, gpu_h = 0, math.nan
    if rule == "train":
        seconds *= search.epochs
        epoch_s = GPU_EPOCH_S * search.n_images / DES_DR2.n_images
        gpu_h = jobs * search.epochs * epoch_s / 3600
    elif rule == "posteriors":
        seconds = growth.cpu_seconds[0] * search.shortlist / jobs
    elif rule in (work := _work(search)):
        seconds *= work[rule]
    elif rule == "cutouts":
        requests = REQUESTS_PER_OBJECT * search.n_objects
        seconds += requests * REQUEST_S / CONNECTIONS / jobs
    elif rule == "select":
        requests = QUERY_REQUESTS * search.tiles
    elif rule == "match":
        requests = MATCH_REQUESTS * search.tiles
    return Cost(
        rule,
        jobs,
        jobs * seconds / 3600,
        gpu_h,
        growth.memory_at(n),
        jobs * growth.output_at(n) * 2**20 / 1e9,
        requests,
    )


def costs(rows: Sequence[Measured], search: Search) -> list[Cost]:
    """Return what each rule of a search from a survey's services costs.

    Raises
    ------
    InputError
        If a rule was not measured.
    """
    growth = growths(rows)
    missing = [rule for rule in RULES if rule not in growth]
    if missing:
        raise InputError(f"not measured: {', '.join(missing)}", next_step="make bench-resources")
    return [cost(rule, search, growth[rule]) for rule in RULES]


def _number(value: float) -> str:
    if math.isnan(value):
        return ""
    if value >= 10:
        return f"{value:,.0f}"
    return f"{value:.2g}"


def growth_text(growth: Mapping[str, Growth]) -> str:
    """Return the growth of all rules as a table in Markdown."""
    lines = [
        "| rule | sizes measured | CPU s at them | exponent | peak MB at them | kB per object |",
        "|---|---|---|---|---|---|",
    ]
    for rule, one in sorted(growth.items()):
        cells = [
            rule,
            " ".join(f"{n:,.0f}" for n in one.sizes),
            " ".join(_number(value) for value in one.cpu_seconds),
            _number(one.exponent),
            " ".join(f"{value:,.0f}" for value in one.memory_mb),
            _number(one.kb_per_object),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _total(found: Sequence[Cost]) -> str:
    cells = [
        "all",
        f"{sum(one.jobs for one in found):,}",
        _number(sum(one.core_h for one in found)),
        _number(sum(one.gpu_h for one in found if not math.isnan(one.gpu_h))),
        _number(max(one.memory_mb for one in found) * 2**20 / 1e9),
        _number(sum(one.disk_gb for one in found)),
        f"{sum(one.requests for one in found):,}",
    ]
    return "| " + " | ".join(cells) + " |"


def plan_text(rows: Sequence[Measured]) -> str:
    """Return growth, and costs of `SEARCHES`, as tables in Markdown."""
    parts = [growth_text(growths(rows))]
    for search in SEARCHES:
        found = costs(rows, search)
        lines = [
            f"**{search.name}**: {search.n_queried:,} rows queried, {search.n_objects:,} objects, "
            f"{search.n_images:,} with images, {search.tiles:,} tiles, {search.seeds} seeds, "
            f"{search.epochs} epochs",
            "",
            "| rule | jobs | core-h | GPU-h | peak GB of one job | disk GB | requests |",
            "|---|---|---|---|---|---|---|",
        ]
        for one in found:
            cells = [
                one.rule,
                f"{one.jobs:,}",
                _number(one.core_h),
                _number(one.gpu_h),
                _number(one.memory_mb * 2**20 / 1e9),
                _number(one.disk_gb),
                f"{one.requests:,}" if one.requests else "",
            ]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append(_total(found))
        parts.append("\n".join(lines))
    return "\n\n".join(parts)
