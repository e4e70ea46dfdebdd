# The features of every image, from networks trained by this search or before it.


rule features:
    input:
        images=rules.images.output.images,
        model=lambda wildcards: SEARCH.model(wildcards.seed),
    output:
        features=result("learning/seed-{seed}/features.npz"),
    log:
        log_of("features/seed-{seed}"),
    benchmark:
        benchmark_of("features/seed-{seed}")
    conda:
        "../../envs/learning.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("features"),
        runtime=minutes("features"),
    params:
        # What is in the files of networks trained before.
        given=[file_mark(path) for path in SEARCH.given_models],
        code=code("features"),
        follows=follows("train" if SEARCH.trains else "images"),
    message:
        "Features of every image, seed {wildcards.seed}, with {input.model}"
    script:
        "../scripts/features.py"
