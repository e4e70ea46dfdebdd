# More like this: the objects nearest to one of them, by the features of all seeds.
# No part of a whole search: snakemake similar --config target=<id or "ra,dec">.


rule similar_index:
    input:
        features=each_seed("learning/seed-{seed}/features.npz"),
        catalogue=rules.catalogue.output.catalogue,
    output:
        graph=result("learning/index.faiss"),
        objects=result("learning/index.npz"),
    log:
        log_of("similar_index"),
    benchmark:
        benchmark_of("similar_index")
    conda:
        "../../envs/learning.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("similar_index"),
        runtime=minutes("similar_index"),
    params:
        seeds=CONFIG.learning.seeds,
        centre=CONFIG.islands.centre,
        code=code("similar_index"),
        follows=follows("features", "catalogue"),
    message:
        "Index of the features of all seeds"
    script:
        "../scripts/similar_index.py"


rule similar:
    input:
        features=each_seed("learning/seed-{seed}/features.npz"),
        graph=rules.similar_index.output.graph,
        objects=rules.similar_index.output.objects,
        images=rules.images.output.images,
        losses=[rules.catalogue.output.losses, rules.images.output.losses],
        evidence=evidence_so_far,
    output:
        parquet=result(f"{SEARCH.similar_folder}/similar.parquet"),
        csv=result(f"{SEARCH.similar_folder}/similar.csv"),
        html=result(f"{SEARCH.similar_folder}/similar.html"),
    log:
        log_of(SEARCH.similar_folder),
    benchmark:
        benchmark_of(SEARCH.similar_folder)
    conda:
        "../../envs/learning.yaml"
    threads: 1
    resources:
        mem_mb=memory_mb("similar"),
        runtime=minutes("similar"),
    params:
        target=CONFIG.target,
        similar=CONFIG.similar.plain(),
        centre=CONFIG.islands.centre,
        code=code("similar"),
        follows=follows("similar_index", "images"),
    message:
        "The objects most like {params.target}"
    script:
        "../scripts/similar.py"
