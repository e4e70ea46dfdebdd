# The tiles' cutouts gathered.


rule images:
    input:
        cutouts=each_tile("cutouts.npz"),
        manifests=each_tile("manifest.parquet"),
        losses=each_tile("losses_images.csv"),
        # Not `rules.catalogue.output`: with it Snakemake hashes all tiles' names for each of them.
        catalogue=result("catalogue.parquet"),
    output:
        images=result("images.npz"),
        manifest=result("manifest.parquet"),
        losses=result("losses_images.csv"),
    log:
        log_of("images"),
    benchmark:
        benchmark_of("images")
    conda:
        "../../envs/survey.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("images"),
        runtime=minutes("images"),
    params:
        tiles=SEARCH.tiles,
        asked=(
            CONFIG.images.asked_of_service()
            if CONFIG.images.source == "service"
            else None
        ),
        code=code("images"),
        follows=follows("catalogue", SEARCH.cutouts_rule),
    message:
        "Gather the cutouts"
    script:
        "../scripts/images.py"
