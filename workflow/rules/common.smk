# Configuration, names of files and resources, for all stages. No rules here.
import gc
import os
import sys
from functools import cache
from hashlib import sha256
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

WORKFLOW = Path(workflow.basedir) / "workflow"
sys.path.insert(0, str(WORKFLOW))
# Scripts run as processes of their own, on this machine or on a node of a cluster.
os.environ.update(
    PYTHONPATH=os.pathsep.join(
        filter(None, [str(WORKFLOW), os.environ.get("PYTHONPATH")])
    )
)

from archipelago.base.errors import ArchipelagoError
from archipelago.config.load import load_config
from archipelago.config.search import Search
from archipelago.left_jobs import cancel_left_jobs
from archipelago.needs import CUDA_MB, NEEDS
from archipelago.provenance import code_hash, file_mark

try:
    CONFIG = load_config(config, Path(workflow.basedir))
    SEARCH = Search.of(CONFIG, Path(workflow.basedir))
except ArchipelagoError as error:
    raise WorkflowError(str(error)) from None

# Addresses, manners and devices change no result: they reach scripts past the params.
os.environ.update(
    ARCHIPELAGO_SERVICES=CONFIG.services.model_dump_json(),
    ARCHIPELAGO_SED_DEVICE=CONFIG.sed.fit.device,
)

if workflow.is_main_process:
    for stage, why in SEARCH.left_out.items():
        logger.info(f"{stage} is left out: {why}")

# CDS X-Match bans who asks in parallel: one such job at a time, whatever the profile says.
workflow.register_resource("xmatch", 1)
# Jobs that talk to the survey's services at once, where neither profile nor user says.
if "survey_connections" not in workflow.global_resources:
    workflow.register_resource("survey_connections", 4)
# What a partition of the cluster gives, if the profile says: with more a job waits forever.
LONGEST_MINUTES = (
    workflow.global_resources["longest_minutes"].value
    if "longest_minutes" in workflow.global_resources
    else float("inf")
)


onstart:
    # After a kill -9 of Snakemake its jobs live on, and would write what is written again.
    if workflow.executor_plugin.name == "slurm":
        try:
            for job in cancel_left_jobs(Path.cwd()):
                logger.warning(
                    f"SLURM job {job}, left by an earlier run, is cancelled"
                )
        except ArchipelagoError as error:
            raise WorkflowError(str(error)) from None


wildcard_constraints:
    tile=r"o\d-\d{5}|fields",
    seed=r"\d+",
    shard=r"\d+",


def result(name):
    """Path of a result of this run."""
    return SEARCH.path(name)


def log_of(name):
    """Path of a log; `name` has the wildcards."""
    return SEARCH.path(f"logs/{name}.log")


def benchmark_of(name):
    """Path of measured time and memory; `name` has the wildcards."""
    return SEARCH.path(f"benchmarks/{name}.tsv")


def each_tile(name):
    """Path of the same result in every tile."""
    return SEARCH.each_tile(name)


def each_seed(name):
    """Path of the same result of every seed."""
    return SEARCH.each_seed(name)


def evidence_so_far(wildcards):
    """The fullest table of evidence there is by now, which is not waited for."""
    if CONFIG.target is None:
        raise WorkflowError(
            'no object is asked for: add --config target=<id>, or target="ra,dec" in degrees'
        )
    return SEARCH.evidence_so_far


def source_file(path):
    """Path of a file of the repository, or of the user, named in the configuration."""
    return str(SEARCH.resolve(path))


def code(script):
    """Hash of the code of a stage; a change re-runs it, and what follows."""
    return code_hash(WORKFLOW / "scripts" / f"{script}.py")


def follows(*rule_names):
    """Param: hash of all that the rules before a job were asked for.

    Snakemake takes a file as up to date even if one that it was made from is missing by
    now. So where a rule fails or is interrupted after a change, what follows it would be
    kept as it was before the change, were it not for this param.
    """

    def asked(wildcards):
        return asked_for(rule_names)

    asked.rule_names = rule_names
    return asked


@cache
def asked_for(rule_names):
    """Hash of the params of rules and of files that no rule makes, and of the rules before them.

    What differs from job to job of a rule is left out.
    """
    parts = []
    for name in rule_names:
        rule_before = getattr(rules, name)
        for key, value in rule_before.params.items():
            if hasattr(value, "rule_names"):
                value = asked_for(value.rule_names)
            if not callable(value):
                parts.append(f"{name}.{key} = {value!r}")
        for path in map(str, rule_before.input):
            if not path.startswith("results/") and Path(path).is_file():
                parts.append(f"{name}: {file_mark(path)}")
    return sha256("\n".join(parts).encode()).hexdigest()[:16]


def size_mb(paths):
    """Size of files; FileNotFoundError, which makes Snakemake ask again later, if one is absent.

    As `input.size_mb`, which starts an event loop for each job: a quarter of a large dry run.
    """
    return sum(os.stat(str(path)).st_size for path in paths) / 2**20


def counted_mb(rule_name, input):
    """Size of a job's input that its request goes by."""
    left = NEEDS[rule_name].left_on_disk
    return size_mb(
        path
        for name, paths in input.items()
        if name not in left
        for path in ([paths] if isinstance(paths, str) else paths)
    )


def memory_mb(rule_name, at_least=0, gpu=False):
    """Memory of a job, by its input's size and the attempt (archipelago.needs)."""
    needs = NEEDS[rule_name]

    def needed(wildcards, input, attempt):
        asked_mb = needs.memory_mb(counted_mb(rule_name, input), attempt)
        return max(asked_mb, attempt * at_least) + (CUDA_MB if gpu else 0)

    return needed


def minutes(rule_name, work=1):
    """Time limit of a job, by its input's size, the work and the attempt (archipelago.needs)."""
    needs = NEEDS[rule_name]

    def needed(wildcards, input, attempt):
        asked = needs.minutes(counted_mb(rule_name, input), attempt, work)
        return min(asked, LONGEST_MINUTES)

    return needed


# The objects of a plan live to the end: looking for garbage among them as often as Python does
# is a fifth of the time of a dry run.
gc.set_threshold(1_000_000, 20, 100)

TARGETS = SEARCH.targets
