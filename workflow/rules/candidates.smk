# All evidence in one table, with one rank.


rule candidates:
    input:
        **SEARCH.candidates_input,
        calibration=source_file(CONFIG.candidates.calibration),
        listed=[source_file(path) for path in CONFIG.known_objects.files],
    output:
        parquet=report(
            result("candidates.parquet"),
            caption="../report/candidates.rst",
            category="Candidates",
            labels={"what": "all candidates by rank"},
        ),
        ecsv=result("candidates.ecsv"),
        csv=result("candidates.csv"),
    log:
        log_of("candidates"),
    benchmark:
        benchmark_of("candidates")
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("candidates"),
        runtime=minutes("candidates"),
    params:
        candidates=CONFIG.candidates.plain(without={"calibration"}),
        match_radius_arcsec=CONFIG.known_quasars.match_radius_arcsec,
        listed_radius_arcsec=CONFIG.known_objects.match_radius_arcsec,
        code=code("candidates"),
        follows=follows(*SEARCH.evidence_rules),
    message:
        "Rank the candidates"
    script:
        "../scripts/candidates.py"
