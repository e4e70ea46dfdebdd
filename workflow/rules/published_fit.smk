# The published search's own fits of the first candidates, and of objects named.


rule published_fit:
    input:
        candidates=rules.candidates.output.parquet,
        catalogue=rules.catalogue.output.catalogue,
        known=rules.known_quasars.output.table,
    output:
        table=result("published_fit.parquet"),
    log:
        log_of("published_fit"),
    benchmark:
        benchmark_of("published_fit")
    conda:
        "../../envs/sed.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("published_fit"),
        runtime=minutes(
            "published_fit",
            work=CONFIG.published_fit.shortlist + len(CONFIG.published_fit.ids),
        ),
    params:
        passbands=CONFIG.sed.passbands,
        published_fit=CONFIG.published_fit.plain(),
        match_radius_arcsec=CONFIG.known_quasars.match_radius_arcsec,
        code=code("published_fit"),
        follows=follows("candidates", "known_quasars"),
    message:
        "Fit the first candidates as the published search did"
    script:
        "../scripts/published_fit.py"
