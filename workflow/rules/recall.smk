# The ranking measured against a table of the truth.


rule recall:
    input:
        candidates=rules.candidates.output.parquet,
        catalogue=rules.catalogue.output.catalogue,
        losses=rules.losses.output.losses,
        truth=source_file(CONFIG.truth.file),
    output:
        table=report(
            result("recall.csv"),
            caption="../report/recall.rst",
            category="What is missed",
            labels={"what": "recall against the truth"},
        ),
        text=result("recall.txt"),
    log:
        log_of("recall"),
    benchmark:
        benchmark_of("recall")
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("recall"),
        runtime=minutes("recall"),
    params:
        top=CONFIG.truth.top,
        code=code("recall"),
        follows=follows("candidates", "losses"),
    message:
        "Measure the ranking against the truth"
    script:
        "../scripts/recall.py"
