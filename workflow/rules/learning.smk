# Contrastive learning, one network per seed.
# One thread for each device: seeds run side by side, and the number of threads sets the last
# digits of the weights, so it must not follow --cores.


rule train:
    input:
        images=rules.images.output.images,
    output:
        model=result("learning/seed-{seed}/model.pt"),
        history=report(
            result("learning/seed-{seed}/history.csv"),
            caption="../report/history.rst",
            category="Learning",
            labels={"what": "training", "seed": "{seed}"},
        ),
    log:
        log_of("train/seed-{seed}"),
    benchmark:
        benchmark_of("train/seed-{seed}")
    retries: 2
    conda:
        "../../envs/learning.yaml"
    threads: CONFIG.learning.devices_per_seed
    resources:
        mem_mb=memory_mb("train", gpu=True),
        runtime=minutes("train", work=CONFIG.learning.epochs_max),
        gpu=CONFIG.learning.devices_per_seed,
    params:
        learning=CONFIG.learning.plain(without={"seeds", "model"}),
        seed=lambda wildcards: int(wildcards.seed),
        checkpoints=result("learning/checkpoints/seed-{seed}"),
        code=code("train"),
        follows=follows("images"),
    message:
        "Train the network, seed {wildcards.seed}"
    script:
        "../scripts/train.py"
