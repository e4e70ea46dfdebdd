# The candidates for TOPCAT, DS9 and the telescope.


rule exports:
    input:
        candidates=rules.candidates.output.parquet,
    output:
        votable=result("exports/candidates.vot"),
        regions=result("exports/candidates.reg"),
        observing_csv=result("exports/observing_list.csv"),
        observing_text=result("exports/observing_list.txt"),
    log:
        log_of("exports"),
    benchmark:
        benchmark_of("exports")
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("exports"),
        runtime=minutes("exports"),
    params:
        run=CONFIG.run,
        candidates=CONFIG.exports.candidates,
        known=CONFIG.exports.known,
        bands=CONFIG.exports.bands or CONFIG.photometry.bands,
        code=code("exports"),
        follows=follows("candidates"),
    message:
        "Write the candidates for other programs"
    script:
        "../scripts/exports.py"


rule finding_charts:
    input:
        **SEARCH.finding_charts_input,
    output:
        pdf=result("exports/finding_charts.pdf"),
    log:
        log_of("finding_charts"),
    benchmark:
        benchmark_of("finding_charts")
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("finding_charts"),
        runtime=minutes("finding_charts", work=CONFIG.exports.candidates),
    params:
        run=CONFIG.run,
        candidates=CONFIG.exports.candidates,
        known=CONFIG.exports.known,
        bands=CONFIG.exports.bands or CONFIG.photometry.bands,
        chart_band=CONFIG.exports.chart_band,
        # Cutouts of one's own may lie any way round.
        oriented=SEARCH.cutouts_from_service,
        code=code("finding_charts"),
        follows=follows("candidates", *(["images"] if SEARCH.has_images else [])),
    message:
        "Draw the finding charts"
    script:
        "../scripts/finding_charts.py"
