# Maps of the features, islands on them, and which islands hold known quasars.


rule map:
    input:
        features=rules.features.output.features,
    output:
        map=report(
            result("islands/seed-{seed}/map.parquet"),
            caption="../report/map.rst",
            category="Learning",
            labels={"what": "map", "seed": "{seed}"},
        ),
    log:
        log_of("map/seed-{seed}"),
    benchmark:
        benchmark_of("map/seed-{seed}")
    conda:
        "../../envs/learning.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("map"),
        runtime=minutes("map"),
    params:
        map=CONFIG.islands.map.plain(),
        code=code("map"),
        follows=follows("features"),
    message:
        "Map of the features, seed {wildcards.seed}"
    script:
        "../scripts/map.py"


rule islands:
    input:
        **SEARCH.islands_input,
        features=each_seed("learning/seed-{seed}/features.npz"),
        maps=each_seed("islands/seed-{seed}/map.parquet"),
        catalogue=rules.catalogue.output.catalogue,
        known=rules.known_quasars.output.table,
    output:
        islands=result("islands/islands.parquet"),
        enrichment=report(
            result("islands/enrichment.csv"),
            caption="../report/islands.rst",
            category="Learning",
            labels={"what": "islands", "seed": "all"},
        ),
        retrieval=result("islands/retrieval.csv"),
        stability=result("islands/stability.csv"),
        agreement=result("islands/agreement.csv"),
    log:
        log_of("islands"),
    benchmark:
        benchmark_of("islands")
    conda:
        "../../envs/learning.yaml"
    threads: 8
    resources:
        mem_mb=memory_mb("islands"),
        runtime=minutes("islands"),
    params:
        islands=CONFIG.islands.plain(without={"map"}),
        match_radius_arcsec=CONFIG.known_quasars.match_radius_arcsec,
        seeds=CONFIG.learning.seeds,
        bands=CONFIG.photometry.bands,
        code=code("islands"),
        follows=follows(
            "map",
            "catalogue",
            "known_quasars",
            *(["sed"] if SEARCH.islands_input else []),
        ),
    message:
        "Islands and their enrichment in known quasars"
    script:
        "../scripts/islands.py"
