rule prediction:
    input:
        model="data/models/{exp}/model.safetensors",
        image=image_to_predict,
        code=code("predict"),
    output:
        store=directory("data/predictions/{exp}/{volume}.zarr"),
        manifest="data/predictions/{exp}/{volume}.zarr.json",
    log:
        "data/logs/predict/{exp}/{volume}.log",
    benchmark:
        "data/benchmarks/predict/{exp}/{volume}.tsv"
    conda:
        "../../envs/elektronn.yaml"
    threads: PARAMS.predict.threads
    resources:
        gpu=gpus(PARAMS.predict.device),
        mem_mb=int(1000 * PARAMS.predict.memory_gb + 1500),
        runtime=1440,
    params:
        cfg=section("predict"),
        image=image,
        voxel=voxel,
    shell:
        "elektronn predict {params.image:q} {output.store:q} --model {input.model:q}"
        " --manifest {output.manifest:q} {params.voxel}"
        " --params-json {params.cfg:q} --log {log:q}"


# the open-ended batch: all volumes of role predict; a new row in the table is one new job
rule predict:
    input:
        expand(
            "data/predictions/{exp}/{volume}.zarr.json",
            exp=EXPERIMENTS,
            volume=[row.name for row in VOLUMES.values() if row.role == "predict"],
        ),
    localrule: True


for exp in EXPERIMENTS:

    rule:
        name:
            f"predict_{exp}"
        input:
            [
                f"data/predictions/{exp}/{row.name}.zarr.json"
                for row in VOLUMES.values()
                if row.role == "predict"
            ],
        localrule: True


onsuccess:
    summarise()


onerror:
    summarise()
