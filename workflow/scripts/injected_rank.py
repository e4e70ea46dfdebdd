"""All evidence on injected objects, combined, and the place each would have in the run's list.

Output
------
table : per injected object that passes all cuts: evidence and score [nats], probabilities, places
"""

from archipelago.base.images import load_images
from archipelago.base.logs import log_to
from archipelago.base.tables import read_table, write_table
from archipelago.candidates.combine import read_calibration
from archipelago.injections import evidence
from archipelago.injections.ranking import ABOUT, ABOUT_EVIDENCE, rank_injected
from archipelago.learning.store import load_features
from archipelago.lensing.evidence import learn

log_to(snakemake.log[0])
given, params = snakemake.input, snakemake.params
candidates = read_table(given.candidates)
tables = []
if path := given.get("injected"):
    injected = load_images(path)
    features = [load_features(one) for one in given.injected_features]
    run_features = [load_features(one) for one in given.features]
    tables.append(
        evidence.like_the_known(injected.ids, features, run_features, candidates, params.islands)
    )
    if path := given.get("simulated"):
        images, simulated = load_images(given.images, memory_map=True), load_images(path)
        kinds = read_table(given.kinds)
        tables.append(
            evidence.likeness(
                injected,
                images,
                simulated,
                kinds,
                features,
                run_features,
                [load_features(one) for one in given.simulated_features],
                candidates.loc[candidates["is_known"], "id"].to_numpy(),
                int(params.n_components),
                seeds=list(params.seeds),
            )
        )
        if params.lensing:
            judge = learn(images, simulated, kinds, **params.lensing, threads=snakemake.threads)
            tables.append(evidence.lens_odds(injected, judge, threads=snakemake.threads))
calibration = read_calibration(given.calibration).at_rates(**params.candidates)
ranked = rank_injected(read_table(given.verdicts), tables, candidates, calibration)
about = {**ABOUT_EVIDENCE, **ABOUT, "id": "number of the injected object"}
write_table(ranked, snakemake.output.table, {k: v for k, v in about.items() if k in ranked.columns})
