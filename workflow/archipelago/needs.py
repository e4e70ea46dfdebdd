"""What a job of each rule asks for: memory and time, as functions of the size of its input.

Fitted to ``data/resources.csv``, which ``make bench-resources`` measures; a test holds each
request against each measurement. No script imports this: a request changes no result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

#: Memory of Snakemake itself in the step of a job on a cluster, beside the script's [MB];
#: measured as some 110.
STEP_MB = 110
#: Memory of a node that CUDA's libraries and a GPU's context take besides [MB]: assumed, for no
#: GPU was at hand; an attempt that it is too little for is followed by a larger one.
CUDA_MB = 1400
#: Least that is ever asked for [MB]: nearly all of it is Snakemake.
LEAST_MB = 200
#: Time that a job of a cluster may take to start: Python, libraries from a cold network disk [min].
START_MINUTES = 5.0
#: Longest first time limit that is asked for [min]: partitions of a day are common, and the rules
#: that take so long (train, cutouts, posteriors) go on at the next attempt where they stopped.
MOST_MINUTES = 1440.0

# The image service took some 2.8 s per file in the first version of this search, which fetched
# 31,000 cutouts one after another. An object is one list of images and five cutouts, and one
# more where tiles overlap.
_REQUEST_S = 2.8
_REQUESTS_PER_OBJECT = 7.0
_CONNECTIONS = 8.0
#: Objects of a table of photometry per MB [2^20 bytes]: one is some 370 bytes.
_OBJECTS_PER_MB = 2800.0
#: Times over what is expected, for slower services and nodes.
_MARGIN = 3.0


@dataclass(frozen=True)
class Needs:
    """What a job of one rule needs.

    Parameters
    ----------
    base_mb : memory of the script without any input [MB of 2^20 bytes].
    per_input_mb : memory per size of the input [MB/MB].
    base_minutes : time limit without any input [min].
    minutes_per_input_mb : time limit per size of the input, and unit of work [min/MB].
    minutes_per_work : time limit per unit of work [min].
    left_on_disk : names of inputs that do not count: images that are mapped, not read.

    A unit of work is what else the time is in proportion to: an epoch of a training, an object
    that is fitted by itself. Most rules have one.
    """

    base_mb: float
    per_input_mb: float
    base_minutes: float
    minutes_per_input_mb: float
    minutes_per_work: float = 0.0
    left_on_disk: tuple[str, ...] = ()

    def memory_mb(self, input_mb: float, attempt: int = 1) -> int:
        """Return the memory to ask for [MB of 2^20 bytes]: more at each attempt.

        Parameters
        ----------
        input_mb : size of the files that the job reads [2^20 bytes].
        attempt : 1, then 2, ...: each adds as much as the first asked for.
        """
        once = max(STEP_MB + self.base_mb + self.per_input_mb * input_mb, LEAST_MB)
        return math.ceil(attempt * once)

    def minutes(self, input_mb: float, attempt: int = 1, work: int = 1) -> int:
        """Return the time limit to ask for [min], doubled at each further attempt.

        Parameters
        ----------
        input_mb, attempt : as in `memory_mb`.
        work : units of work.
        """
        per_work = self.minutes_per_work + self.minutes_per_input_mb * input_mb
        once = min(START_MINUTES + self.base_minutes + work * per_work, MOST_MINUTES)
        return math.ceil(once * 2 ** (attempt - 1))


def _cutouts_minutes_per_mb() -> float:
    """Time limit of the cutouts per size of the table of photometry [min/MB]."""
    object_s = _REQUESTS_PER_OBJECT * _REQUEST_S / _CONNECTIONS
    return _MARGIN * _OBJECTS_PER_MB * object_s / 60.0


#: By rule. Memory: some 1.3 times what was measured, for all sizes. Time: at least three times it,
#: and where a service is waited for, what the configuration lets a request take at the most
#: (services.tap.timeout_s, services.total_s: ten and fifteen minutes).
NEEDS: dict[str, Needs] = {
    # The input is a query of some lines: memory for half a million rows, time for two tries.
    "select": Needs(700, 0, 40, 0),
    "match": Needs(300, 5, 60, 5),
    "photometry": Needs(190, 5, 10, 0.2),
    "cutouts": Needs(300, 0, 55, _cutouts_minutes_per_mb()),
    "known_quasars": Needs(400, 0, 60, 0),
    "ingest": Needs(240, 6, 10, 0.2),
    "detect": Needs(200, 14, 10, 0.5),
    "own_cutouts": Needs(270, 2, 10, 0.05),
    "catalogue": Needs(190, 3.5, 10, 0.2),
    "losses": Needs(160, 7, 10, 0.2, left_on_disk=("images",)),
    "images": Needs(250, 2.2, 10, 0.05),
    # Per epoch; the paper's network takes five times as long as config.yaml's.
    "train": Needs(850, 4, 25, 0.03),
    "features": Needs(560, 2.5, 15, 0.1),
    "map": Needs(620, 20, 25, 1.0),
    "islands": Needs(620, 24, 25, 1.0),
    # Some 600 MB are for the components, which 20,000 objects at most tell.
    "similar_index": Needs(700, 3.6, 10, 0.02),
    # A search reads a few hundred of the objects, but what is known of all.
    "similar": Needs(220, 1.0, 10, 0.1, left_on_disk=("features", "graph", "images", "losses")),
    "templates": Needs(800, 0, 25, 0),
    "sed": Needs(500, 20, 25, 5.0),
    # Of a larger sample 20,000 images are looked at; per object simulated.
    "simulate": Needs(2500, 0, 15, 0, minutes_per_work=0.002),
    "simulated_features": Needs(600, 1.5, 15, 0.1),
    # Per seed.
    "recognise": Needs(500, 3, 25, 0.8, minutes_per_work=5),
    # Per simulated object measured; the sample's are in proportion to the input.
    "lens_evidence": Needs(1500, 0, 25, 0.3, minutes_per_work=0.02),
    "candidates": Needs(260, 30, 10, 2.0),
    "exports": Needs(210, 16, 10, 0.5),
    # Per chart.
    "finding_charts": Needs(360, 1.5, 10, 0.1, minutes_per_work=0.05, left_on_disk=("images",)),
    # Per object; what was sampled of an object is kept for the next attempt.
    "posteriors": Needs(900, 2.5, 25, 0, minutes_per_work=90),
    "published_fit": Needs(1700, 3, 25, 0, minutes_per_work=10),
    "lephare": Needs(250, 90, 25, 5.0),
    "recall": Needs(230, 3.5, 10, 0.1),
    # Per object injected.
    "inject": Needs(1500, 3, 15, 0, minutes_per_work=0.01, left_on_disk=("images",)),
    "injected_features": Needs(600, 1.5, 15, 0.1),
    "injected_sed": Needs(900, 10, 25, 5.0),
    # Per seed.
    "injected_rank": Needs(1500, 3, 25, 0.8, minutes_per_work=10),
    "completeness": Needs(300, 10, 10, 1.0),
    "report": Needs(450, 4, 25, 0.1, left_on_disk=("images",)),
}
