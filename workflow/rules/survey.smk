# Query, match and photometry: one chain per sky tile.


rule select:
    input:
        query=source_file(CONFIG.survey.query),
    output:
        sources=result("tiles/{tile}/sources.parquet"),
        losses=result("tiles/{tile}/losses_select.csv"),
    log:
        log_of("select/{tile}"),
    benchmark:
        benchmark_of("select/{tile}")
    retries: 2
    localrule: CONFIG.services.login_node
    conda:
        "../../envs/survey.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("select"),
        runtime=minutes("select"),
        survey_connections=1,
    params:
        columns=CONFIG.survey.columns.plain(),
        bands={name: band.plain() for name, band in CONFIG.survey.bands.items()},
        healpix_order=CONFIG.survey.healpix_order,
        max_rows=CONFIG.survey.max_rows,
        code=code("select"),
    message:
        "Query the catalogue in tile {wildcards.tile}"
    script:
        "../scripts/select.py"


rule match:
    input:
        sources=rules.select.output.sources,
    output:
        matched=result("tiles/{tile}/matched.parquet"),
        losses=result("tiles/{tile}/losses_match.csv"),
    log:
        log_of("match/{tile}"),
    benchmark:
        benchmark_of("match/{tile}")
    retries: 2
    localrule: CONFIG.services.login_node
    conda:
        "../../envs/survey.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("match"),
        runtime=minutes("match"),
        survey_connections=1,
        xmatch=1,
    params:
        catalogues=[partner.plain() for partner in CONFIG.match],
        max_rows=CONFIG.survey.max_rows,
        code=code("match"),
        follows=follows("select"),
    message:
        "Cross-match tile {wildcards.tile}"
    script:
        "../scripts/match.py"


rule photometry:
    input:
        sources=rules.select.output.sources,
        matched=rules.match.output.matched,
        select_losses=rules.select.output.losses,
        match_losses=rules.match.output.losses,
    output:
        photometry=result("tiles/{tile}/photometry.parquet"),
        cutflow=result("tiles/{tile}/cutflow.csv"),
        losses=result("tiles/{tile}/losses_photometry.csv"),
    log:
        log_of("photometry/{tile}"),
    benchmark:
        benchmark_of("photometry/{tile}")
    conda:
        "../../envs/survey.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("photometry"),
        runtime=minutes("photometry"),
    params:
        **CONFIG.photometry.plain(),
        survey_bands={name: band.plain() for name, band in CONFIG.survey.bands.items()},
        catalogues=[partner.plain() for partner in CONFIG.match],
        code=code("photometry"),
        follows=follows("match"),
    message:
        "Photometry and cuts in tile {wildcards.tile}"
    script:
        "../scripts/photometry.py"
