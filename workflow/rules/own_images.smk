# Images of one's own without a catalogue: sources are detected in them.


rule detect:
    input:
        fields=[source_file(CONFIG.images.fields[band]) for band in CONFIG.images.bands],
    output:
        photometry=result("tiles/fields/photometry.parquet"),
        cutflow=result("tiles/fields/cutflow.csv"),
        losses=result("tiles/fields/losses_photometry.csv"),
        cutouts=result("tiles/fields/cutouts.npz"),
        manifest=result("tiles/fields/manifest.parquet"),
        image_losses=result("tiles/fields/losses_images.csv"),
    log:
        log_of("detect"),
    benchmark:
        benchmark_of("detect")
    conda:
        "../../envs/survey.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("detect"),
        runtime=minutes("detect"),
    params:
        bands=CONFIG.images.bands,
        size_px=CONFIG.images.size_px,
        pixel_scale_arcsec=CONFIG.images.pixel_scale_arcsec,
        zero_point_ab=CONFIG.images.zero_point_ab,
        detect=CONFIG.images.detect.plain(),
        photometry=CONFIG.photometry.plain(),
        code=code("detect"),
    message:
        "Detect sources in images"
    script:
        "../scripts/detect.py"
