# A catalogue of one's own, in place of query and match: one job for all tiles.


rule ingest:
    input:
        catalogue=source_file(CONFIG.catalogue.file),
    output:
        photometry=each_tile("photometry.parquet"),
        cutflow=each_tile("cutflow.csv"),
        losses=each_tile("losses_photometry.csv"),
    log:
        log_of("ingest"),
    benchmark:
        benchmark_of("ingest")
    conda:
        "../../envs/survey.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("ingest"),
        runtime=minutes("ingest"),
    params:
        columns=CONFIG.catalogue.columns.plain(),
        bands={
            band: CONFIG.catalogue.bands[band].plain()
            for band in CONFIG.photometry.bands
        },
        photometry=CONFIG.photometry.plain(),
        tile_order=CONFIG.survey.tile_order,
        tiles=SEARCH.tiles,
        code=code("ingest"),
    message:
        "Read the catalogue {input.catalogue}"
    script:
        "../scripts/ingest.py"
