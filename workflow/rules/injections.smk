# Quasars painted into the run's cutouts, put to cuts, features, SED and ranking in shards; then
# how complete the search is, and the lensed fraction.


rule inject:
    input:
        **SEARCH.inject_input,
    output:
        **(
            {"injected": result("injections/shard-{shard}/images.npz")}
            if SEARCH.has_images
            else {}
        ),
        table=result("injections/shard-{shard}/injected.parquet"),
        photometry=result("injections/shard-{shard}/photometry.parquet"),
    log:
        log_of("inject/{shard}"),
    benchmark:
        benchmark_of("inject/{shard}")
    conda:
        "../../envs/sed.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("inject"),
        runtime=minutes(
            "inject",
            # Objects of a shard, at most.
            work=-(
                -(CONFIG.injections.n_quasars + CONFIG.injections.n_lensed)
                // CONFIG.injections.shards
            ),
        ),
    params:
        injections=CONFIG.injections.plain(
            without={"enabled", "bins", "first", "probability"}
        ),
        photometry=CONFIG.photometry.plain(),
        survey_bands={name: band.plain() for name, band in CONFIG.survey.bands.items()},
        catalogues=[partner.plain() for partner in CONFIG.match],
        own_bands={name: band.plain() for name, band in CONFIG.catalogue.bands.items()},
        fit=CONFIG.sed.fit.plain(without={"memory_mb", "device"}),
        match_radius_arcsec=CONFIG.known_quasars.match_radius_arcsec,
        code=code("inject"),
        follows=follows(
            "catalogue",
            "templates",
            "known_quasars",
            *(["images"] if SEARCH.has_images else []),
        ),
    message:
        "Inject quasars, shard {wildcards.shard}"
    script:
        "../scripts/inject.py"


rule injected_sed:
    input:
        photometry=rules.inject.output.photometry,
        templates=rules.templates.output.templates,
        catalogue=rules.catalogue.output.catalogue,
        verdicts=rules.sed.output.verdicts,
    output:
        verdicts=result("injections/shard-{shard}/verdicts.parquet"),
    log:
        log_of("injected_sed/{shard}"),
    benchmark:
        benchmark_of("injected_sed/{shard}")
    conda:
        "../../envs/sed.yaml"
    threads: 8
    resources:
        mem_mb=memory_mb(
            "injected_sed",
            at_least=2 * CONFIG.sed.fit.memory_mb,
            gpu=CONFIG.sed.fit.device == "cuda",
        ),
        runtime=minutes("injected_sed"),
        gpu=1 if CONFIG.sed.fit.device == "cuda" else 0,
    params:
        sed=CONFIG.sed.fit.plain(without={"memory_mb", "device"}),
        code=code("injected_sed"),
        follows=follows("inject", "sed"),
    message:
        "Fit injected objects, shard {wildcards.shard}"
    script:
        "../scripts/injected_sed.py"


rule injected_rank:
    input:
        **SEARCH.injected_rank_input,
    output:
        table=result("injections/shard-{shard}/ranked.parquet"),
    log:
        log_of("injected_rank/{shard}"),
    benchmark:
        benchmark_of("injected_rank/{shard}")
    conda:
        "../../envs/learning.yaml"
    threads: 4
    resources:
        mem_mb=memory_mb("injected_rank"),
        runtime=minutes("injected_rank", work=len(CONFIG.learning.seeds)),
    params:
        candidates=CONFIG.candidates.plain(without={"calibration"}),
        islands=CONFIG.islands.plain(
            without={"map", "hdbscan", "consensus", "consensus_threshold"}
        ),
        n_components=CONFIG.recognise.n_components,
        lensing=CONFIG.lensing.plain() if SEARCH.has_lensing else None,
        seeds=CONFIG.learning.seeds,
        code=code("injected_rank"),
        follows=follows(
            "injected_sed",
            "candidates",
            *(["injected_features"] if SEARCH.has_images else []),
        ),
    message:
        "Rank injected objects, shard {wildcards.shard}"
    script:
        "../scripts/injected_rank.py"


rule completeness:
    input:
        tables=[
            result(f"injections/shard-{k}/injected.parquet")
            for k in range(CONFIG.injections.shards)
        ],
        ranked=[
            result(f"injections/shard-{k}/ranked.parquet")
            for k in range(CONFIG.injections.shards)
        ],
        candidates=rules.candidates.output.parquet,
        query=SEARCH.inject_input.get("query", []),
    output:
        table=result("injections/injected.parquet"),
        completeness=report(
            result("injections/completeness.csv"),
            caption="../report/completeness.rst",
            category="What is missed",
            labels={"what": "completeness by injections"},
        ),
        fraction=report(
            result("injections/lensed_fraction.csv"),
            caption="../report/lensed_fraction.rst",
            category="What is missed",
            labels={"what": "lensed fraction"},
        ),
    log:
        log_of("completeness"),
    benchmark:
        benchmark_of("completeness")
    conda:
        "../../envs/sed.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("completeness"),
        runtime=minutes("completeness"),
    params:
        injections=CONFIG.injections.plain(without={"enabled"}),
        photometry=CONFIG.photometry.plain(),
        survey_bands={name: band.plain() for name, band in CONFIG.survey.bands.items()},
        catalogues=[partner.plain() for partner in CONFIG.match],
        expected_fraction=CONFIG.sed.fit.priors.lensed_fraction,
        code=code("completeness"),
        follows=follows("injected_rank"),
    message:
        "Completeness of the search"
    script:
        "../scripts/completeness.py"
