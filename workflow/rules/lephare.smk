# LePHARE on the whole catalogue, beside our own verdict, where its data are configured.


rule lephare:
    input:
        catalogue=rules.catalogue.output.catalogue,
        verdicts=rules.sed.output.verdicts,
        data=source_file(CONFIG.lephare.data),
    output:
        table=result("sed/lephare.parquet"),
    log:
        log_of("lephare"),
    benchmark:
        benchmark_of("lephare")
    conda:
        "../../envs/sed.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("lephare"),
        runtime=minutes("lephare"),
    params:
        passbands=CONFIG.sed.passbands,
        lephare=CONFIG.lephare.plain(without={"data"}),
        code=code("lephare"),
        follows=follows("catalogue", "sed"),
    message:
        "Fit every object with LePHARE, beside our own verdict"
    script:
        "../scripts/lephare.py"
