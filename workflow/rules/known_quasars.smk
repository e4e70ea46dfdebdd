# Quasars known before the search, from a service or a file.


rule known_quasars:
    input:
        **SEARCH.known_quasars_input,
    output:
        table=result("known_quasars.parquet"),
    log:
        log_of("known_quasars"),
    benchmark:
        benchmark_of("known_quasars")
    retries: 2
    localrule: CONFIG.services.login_node
    conda:
        "../../envs/survey.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("known_quasars"),
        runtime=minutes("known_quasars"),
        survey_connections=1,
    params:
        source=CONFIG.known_quasars.source,
        columns=CONFIG.known_quasars.columns.plain(),
        max_rows=CONFIG.known_quasars.max_rows,
        min_redshift=CONFIG.known_quasars.min_redshift,
        code=code("known_quasars"),
    message:
        "Fetch the known quasars"
    script:
        "../scripts/known_quasars.py"
