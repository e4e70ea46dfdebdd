# Image cutouts from the survey's image service, one job per sky tile.


rule cutouts:
    input:
        photometry=result("tiles/{tile}/photometry.parquet"),
    output:
        cutouts=result("tiles/{tile}/cutouts.npz"),
        manifest=result("tiles/{tile}/manifest.parquet"),
        losses=result("tiles/{tile}/losses_images.csv"),
    log:
        log_of("cutouts/{tile}"),
    benchmark:
        benchmark_of("cutouts/{tile}")
    retries: 3
    localrule: CONFIG.services.login_node
    conda:
        "../../envs/survey.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("cutouts"),
        runtime=minutes("cutouts"),
        survey_connections=1,
    params:
        asked=CONFIG.images.asked_of_service(),
        code=code("cutouts"),
        follows=follows(SEARCH.photometry_rule),
    message:
        "Fetch the cutouts of tile {wildcards.tile}"
    script:
        "../scripts/cutouts.py"
