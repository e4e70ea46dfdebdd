# Cutouts of one's own in place of a download: one job for all tiles.


rule own_cutouts:
    input:
        photometry=each_tile("photometry.parquet"),
        images=source_file(CONFIG.images.file),
    output:
        cutouts=each_tile("cutouts.npz"),
        manifest=each_tile("manifest.parquet"),
        losses=each_tile("losses_images.csv"),
    log:
        log_of("own_cutouts"),
    benchmark:
        benchmark_of("own_cutouts")
    conda:
        "../../envs/survey.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("own_cutouts"),
        runtime=minutes("own_cutouts"),
    params:
        expected={
            "bands": CONFIG.images.bands,
            "size_px": CONFIG.images.size_px,
            "pixel_scale_arcsec": CONFIG.images.pixel_scale_arcsec,
            "zero_point_ab": CONFIG.images.zero_point_ab,
        },
        tiles=SEARCH.tiles,
        code=code("own_cutouts"),
        follows=follows(SEARCH.photometry_rule),
    message:
        "Take the cutouts from {input.images}"
    script:
        "../scripts/own_cutouts.py"
