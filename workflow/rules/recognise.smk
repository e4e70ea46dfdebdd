# Simulated quasars and lensed quasars, and how much more like them than like the sample every
# object looks. What the networks of all seeds see of both, and what is measured in the images.


rule simulate:
    input:
        images=rules.images.output.images,
        templates=rules.templates.output.templates,
        catalogue=rules.catalogue.output.catalogue,
        known=rules.known_quasars.output.table,
    output:
        images=result("recognise/simulated.npz"),
        table=result("recognise/simulated.parquet"),
    log:
        log_of("simulate"),
    benchmark:
        benchmark_of("simulate")
    conda:
        "../../envs/sed.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("simulate"),
        runtime=minutes("simulate", work=CONFIG.recognise.n_simulated),
    params:
        priors=CONFIG.sed.fit.priors.plain(),
        n_simulated=CONFIG.recognise.n_simulated,
        seed=CONFIG.recognise.seed,
        redshift_min=CONFIG.known_quasars.min_redshift,
        match_radius_arcsec=CONFIG.known_quasars.match_radius_arcsec,
        code=code("simulate"),
        follows=follows("images", "templates", "known_quasars"),
    message:
        "Simulate quasars and lensed quasars"
    script:
        "../scripts/simulate.py"


rule simulated_features:
    input:
        images=rules.simulate.output.images,
        model=lambda wildcards: SEARCH.model(wildcards.seed),
    output:
        features=result("learning/seed-{seed}/simulated.npz"),
    log:
        log_of("simulated_features/seed-{seed}"),
    benchmark:
        benchmark_of("simulated_features/seed-{seed}")
    conda:
        "../../envs/learning.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("simulated_features"),
        runtime=minutes("simulated_features"),
    params:
        # What is in the files of networks trained before.
        given=[file_mark(path) for path in SEARCH.given_models],
        code=code("features"),
        follows=follows(*(["train"] if SEARCH.trains else []), "simulate"),
    message:
        "Features of the simulated objects, seed {wildcards.seed}, with {input.model}"
    script:
        "../scripts/features.py"


rule recognise:
    input:
        images=rules.images.output.images,
        simulated=rules.simulate.output.images,
        table=rules.simulate.output.table,
        features=each_seed("learning/seed-{seed}/features.npz"),
        simulated_features=each_seed("learning/seed-{seed}/simulated.npz"),
        catalogue=rules.catalogue.output.catalogue,
        known=rules.known_quasars.output.table,
    output:
        evidence=result("recognise/evidence.parquet"),
    log:
        log_of("recognise"),
    benchmark:
        benchmark_of("recognise")
    conda:
        "../../envs/learning.yaml"
    threads: 8
    resources:
        mem_mb=memory_mb("recognise"),
        runtime=minutes("recognise", work=len(CONFIG.learning.seeds)),
    params:
        n_components=CONFIG.recognise.n_components,
        seeds=CONFIG.learning.seeds,
        match_radius_arcsec=CONFIG.known_quasars.match_radius_arcsec,
        code=code("recognise"),
        follows=follows("features", "simulated_features"),
    message:
        "What images say of every object, beside simulated quasars"
    script:
        "../scripts/recognise.py"
