# Posteriors of the shortlist, in a fixed number of shards.


rule posteriors:
    input:
        candidates=rules.candidates.output.parquet,
        catalogue=rules.catalogue.output.catalogue,
        templates=rules.templates.output.templates,
    output:
        table=result("posteriors/shard-{shard}.parquet"),
        samples=result("posteriors/shard-{shard}.npz"),
        figures=directory(result("posteriors/shard-{shard}")),
    log:
        log_of("posteriors/{shard}"),
    benchmark:
        benchmark_of("posteriors/{shard}")
    retries: 1
    conda:
        "../../envs/sed.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("posteriors"),
        runtime=minutes(
            "posteriors",
            # Objects of a shard, at most.
            work=-(-CONFIG.posteriors.shortlist // CONFIG.posteriors.shards),
        ),
    params:
        posteriors=CONFIG.posteriors.plain(),
        passbands=CONFIG.sed.passbands,
        sed=CONFIG.sed.fit.plain(without={"memory_mb", "device"}),
        partial=result("posteriors/partial"),
        code=code("posteriors"),
        follows=follows("candidates"),
    message:
        "Posteriors, shard {wildcards.shard}"
    script:
        "../scripts/posteriors.py"
