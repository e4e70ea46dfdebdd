# The search at a glance: configuration, stages, targets. Every job follows from
# the configuration, so that `snakemake -n` shows them all.
from snakemake.utils import min_version

min_version("9.0")


configfile: "config.yaml"


# What `snakemake --report` shows beside the files that the rules mark for it.
report: "workflow/report/search.rst"


include: "workflow/rules/common.smk"


rule all:
    default_target: True
    input:
        TARGETS,


# Where the objects come from: a survey's services, a catalogue of one's own, or
# images of one's own. What follows is the same.
include: f"workflow/rules/{SEARCH.origin}.smk"
include: "workflow/rules/catalogue.smk"
include: "workflow/rules/known_quasars.smk"


if SEARCH.cutouts_rule != "detect":

    include: f"workflow/rules/{SEARCH.cutouts_rule}.smk"


if SEARCH.has_images:

    include: "workflow/rules/images.smk"


if SEARCH.trains:

    include: "workflow/rules/learning.smk"


if SEARCH.has_images:

    include: "workflow/rules/features.smk"
    include: "workflow/rules/islands.smk"
    include: "workflow/rules/similar.smk"


include: "workflow/rules/sed.smk"


if SEARCH.recognises:

    include: "workflow/rules/recognise.smk"


if SEARCH.has_lensing:

    include: "workflow/rules/lensing.smk"


if SEARCH.has_lephare:

    include: "workflow/rules/lephare.smk"


include: "workflow/rules/candidates.smk"
include: "workflow/rules/exports.smk"
include: "workflow/rules/posteriors.smk"


if SEARCH.has_published_fit:

    include: "workflow/rules/published_fit.smk"


if SEARCH.has_injections:

    include: "workflow/rules/injections.smk"


if SEARCH.has_injections and SEARCH.has_images:

    include: "workflow/rules/injected_features.smk"


if SEARCH.has_truth:

    include: "workflow/rules/recall.smk"


include: "workflow/rules/report.smk"
