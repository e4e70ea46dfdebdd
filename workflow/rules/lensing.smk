# Shapes in the images that tell a lensed quasar from a single one, and what they say together.


rule lens_evidence:
    input:
        images=rules.images.output.images,
        simulated=rules.simulate.output.images,
        table=rules.simulate.output.table,
    output:
        evidence=result("lensing/evidence.parquet"),
    log:
        log_of("lens_evidence"),
    benchmark:
        benchmark_of("lens_evidence")
    conda:
        "../../envs/learning.yaml"
    threads: 4
    resources:
        mem_mb=memory_mb("lens_evidence"),
        runtime=minutes("lens_evidence", work=2 * CONFIG.lensing.n_taught),
    params:
        n_taught=CONFIG.lensing.n_taught,
        seed=CONFIG.lensing.seed,
        code=code("lens_evidence"),
        follows=follows("images", "simulate"),
    message:
        "Shapes of lensed quasars in the images"
    script:
        "../scripts/lens_evidence.py"
