# Contrastive learning, one network per seed, and the features of every image.
# One thread each: seeds run side by side, and the number of threads sets the last
# digits of the weights, so it must not follow --cores.


rule train:
    input:
        images=rules.images.output.images,
    output:
        model=result("learning/seed-{seed}/model.pt"),
        history=result("learning/seed-{seed}/history.csv"),
    log:
        log_of("train/seed-{seed}"),
    benchmark:
        benchmark_of("train/seed-{seed}")
    retries: 2
    conda:
        "../../envs/learning.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("train", gpu=True),
        runtime=minutes("train", work=CONFIG.learning.epochs_max),
        gpu=1,
    params:
        learning=CONFIG.learning.plain(without={"seeds"}),
        seed=lambda wildcards: int(wildcards.seed),
        checkpoints=result("learning/checkpoints/seed-{seed}"),
        code=code("train"),
        follows=follows("images"),
    message:
        "Train the network, seed {wildcards.seed}"
    script:
        "../scripts/train.py"


rule features:
    input:
        images=rules.images.output.images,
        model=rules.train.output.model,
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
        code=code("features"),
        follows=follows("train"),
    message:
        "Features of every image, seed {wildcards.seed}"
    script:
        "../scripts/features.py"
