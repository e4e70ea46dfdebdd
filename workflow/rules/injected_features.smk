# What the networks of all seeds see of injected objects.


rule injected_features:
    input:
        images=rules.inject.output.injected,
        model=lambda wildcards: SEARCH.model(wildcards.seed),
    output:
        features=result("injections/shard-{shard}/seed-{seed}.npz"),
    log:
        log_of("injected_features/{shard}/seed-{seed}"),
    benchmark:
        benchmark_of("injected_features/{shard}-seed-{seed}")
    conda:
        "../../envs/learning.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("injected_features"),
        runtime=minutes("injected_features"),
    params:
        # What is in the files of networks trained before.
        given=[file_mark(path) for path in SEARCH.given_models],
        code=code("features"),
        follows=follows(*(["train"] if SEARCH.trains else []), "inject"),
    message:
        "Features of injected objects, shard {wildcards.shard}, seed {wildcards.seed}"
    script:
        "../scripts/features.py"
