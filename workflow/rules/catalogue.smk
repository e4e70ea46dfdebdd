# The tiles' objects gathered, and every object that dropped out.


rule catalogue:
    input:
        **SEARCH.catalogue_input,
    output:
        catalogue=result("catalogue.parquet"),
        cutflow=result("cutflow_catalogue.csv"),
        losses=result("losses_catalogue.csv"),
    log:
        log_of("catalogue"),
    benchmark:
        benchmark_of("catalogue")
    conda:
        "../../envs/survey.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("catalogue"),
        runtime=minutes("catalogue"),
    params:
        tiles=SEARCH.tiles,
        code=code("catalogue"),
        follows=follows(SEARCH.photometry_rule),
    message:
        "Gather the catalogue of {params.tiles}"
    script:
        "../scripts/catalogue.py"


rule losses:
    input:
        **SEARCH.losses_input,
    output:
        losses=result("losses.csv"),
        cutflow=report(
            result("cutflow.csv"),
            caption="../report/cutflow.rst",
            category="Search",
            labels={"what": "objects left after each step"},
        ),
    log:
        log_of("losses"),
    benchmark:
        benchmark_of("losses")
    conda:
        "../../envs/survey.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("losses"),
        runtime=minutes("losses"),
    params:
        code=code("losses"),
        follows=follows("images" if SEARCH.has_images else "catalogue"),
    message:
        "Gather all losses and check that every object is accounted for"
    script:
        "../scripts/losses.py"
