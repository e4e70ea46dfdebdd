# Template photometry, made once, and the fit of every object with it.


rule templates:
    input:
        dwarf_colours=source_file(CONFIG.sed.dwarf_colours),
        lephare=(
            source_file(CONFIG.lephare.data)
            if CONFIG.sed.models.star.lephare_list
            else []
        ),
    output:
        templates=result("sed/templates.npz"),
    log:
        log_of("templates"),
    benchmark:
        benchmark_of("templates")
    conda:
        "../../envs/sed.yaml"
    threads: 8
    resources:
        mem_mb=memory_mb("templates"),
        runtime=minutes("templates"),
    params:
        passbands=CONFIG.sed.passbands,
        sed=CONFIG.sed.models.plain(),
        code=code("templates"),
    message:
        "Photometry of all templates"
    script:
        "../scripts/templates.py"


rule sed:
    input:
        catalogue=rules.catalogue.output.catalogue,
        templates=rules.templates.output.templates,
    output:
        verdicts=result("sed/verdicts.parquet"),
    log:
        log_of("sed"),
    benchmark:
        benchmark_of("sed")
    conda:
        "../../envs/sed.yaml"
    threads: 8
    resources:
        mem_mb=memory_mb(
            "sed",
            at_least=2 * CONFIG.sed.fit.memory_mb,
            gpu=CONFIG.sed.fit.device == "cuda",
        ),
        runtime=minutes("sed"),
        gpu=1 if CONFIG.sed.fit.device == "cuda" else 0,
    params:
        sed=CONFIG.sed.fit.plain(without={"memory_mb", "device"}),
        code=code("sed"),
        follows=follows("catalogue", "templates"),
    message:
        "Fit every object as star, galaxy, quasar and lensed quasar"
    script:
        "../scripts/sed.py"
