# The tiles' cutouts gathered.


rule images:
    input:
        cutouts=each_tile("cutouts.npz"),
        manifests=each_tile("manifest.parquet"),
        losses=each_tile("losses_images.csv"),
        catalogue=rules.catalogue.output.catalogue,
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
        mem_mb=memory_mb(1000, 3),
        runtime=minutes(30),
    params:
        tiles=SEARCH.tiles,
        code=code("images"),
        follows=follows("catalogue", SEARCH.cutouts_rule),
    message:
        "Gather the cutouts"
    script:
        "../scripts/images.py"
