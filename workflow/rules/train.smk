rule train:
    input:
        images=image_files("train", "valid"),
        labels=of_experiment("data/interim/labels/{volume}.h5", "train", "valid"),
        checks=of_experiment("data/interim/check/{volume}.json", "train", "valid"),
        code=code("train"),
    output:
        model="data/models/{exp}/model.safetensors",
        card="data/models/{exp}/model.json",
        resolved="data/models/{exp}/params.resolved.yaml",
        events="data/models/{exp}/events.jsonl",
        history=report(
            "data/models/{exp}/history.csv",
            category="Training",
            subcategory="{exp}",
            caption="../report/history.rst",
            labels={"experiment": "{exp}", "what": "history"},
        ),
        curves=report(
            "data/models/{exp}/curves.png",
            category="Training",
            subcategory="{exp}",
            caption="../report/history.rst",
            labels={"experiment": "{exp}", "what": "learning curves"},
        ),
    log:
        "data/logs/train/{exp}.log",
    benchmark:
        "data/benchmarks/train/{exp}.tsv"
    # a training that was stopped goes on where it was; how often on a cluster is told by its profile, and never inside
    # the job itself, which is to end when it is told to
    retries: 1 if IS_LOCAL else None
    conda:
        "../../envs/elektronn.yaml"
    threads: lambda w: PARAMS.experiments[w.exp].training.threads
    resources:
        gpu=lambda w: gpus(PARAMS.experiments[w.exp].training.device),
        # on a cluster the threads that prepare batches have cores of their own
        cpus_per_task=lambda w, threads: threads
        + PARAMS.experiments[w.exp].sampling.workers,
        mem_mb=4000,
        runtime=1440,
    params:
        cfg=section(
            "experiments.{exp}.network",
            "experiments.{exp}.sampling",
            "experiments.{exp}.training",
        ),
        volumes=lambda w: volume_options(
            w.exp,
            PARAMS.experiments[w.exp],
            VOLUMES,
            "data/interim/labels/{volume}.h5",
        ),
        state="data/state/{exp}",
    shell:
        "elektronn train {wildcards.exp} {params.volumes} --model {output.model:q}"
        " --history {output.history:q} --card {output.card:q} --curves {output.curves:q}"
        " --resolved {output.resolved:q} --events {output.events:q} --state {params.state:q}"
        " --params-json {params.cfg:q} --log {log:q}"


for exp in EXPERIMENTS:

    rule:
        name:
            f"train_{exp}"
        input:
            f"data/reports/{exp}/index.html",
        localrule: True
