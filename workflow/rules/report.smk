rule report:
    input:
        metrics="data/reports/{exp}/metrics.json",
        roc="data/reports/{exp}/roc.csv",
        pr="data/reports/{exp}/pr.csv",
        confusion="data/reports/{exp}/confusion.csv",
        evaluated="data/reports/{exp}/evaluate.resolved.yaml",
        history="data/models/{exp}/history.csv",
        card="data/models/{exp}/model.json",
        model="data/models/{exp}/model.safetensors",
        events="data/models/{exp}/events.jsonl",
        cards=of_experiment(
            "data/interim/volumes/{volume}.json", "train", "valid", "test"
        ),
        checks=of_experiment(
            "data/interim/check/{volume}.json", "train", "valid", "test"
        ),
        pictures=of_experiment(
            "data/interim/check/{volume}.png", "train", "valid", "test"
        ),
        images=image_files("valid", "test"),
        labels=of_experiment("data/interim/labels/{volume}.h5", "valid", "test"),
        stores=of_experiment("data/predictions/{exp}/{volume}.zarr", "valid", "test"),
        manifests=of_experiment(
            "data/predictions/{exp}/{volume}.zarr.json", "valid", "test"
        ),
        figures=lambda w: (
            [f"data/reports/{w.exp}/segments.json"] if with_ids(w.exp) else []
        ),
        segments=of_segmented("data/segmentations/{exp}/{volume}.zarr"),
        code=code("report"),
    output:
        page=report(
            "data/reports/{exp}/index.html",
            category="Report",
            caption="../report/page.rst",
            labels={"experiment": "{exp}", "what": "report"},
        ),
    log:
        "data/logs/report/{exp}.log",
    conda:
        "../../envs/elektronn.yaml"
    params:
        cfg=section(
            "report",
            "boundaries",
            "check",
            "predict",
            "evaluate",
            "experiments.{exp}.network",
            "experiments.{exp}.sampling",
            "experiments.{exp}.training",
        ),
    shell:
        "elektronn report {wildcards.exp} {output.page:q} --metrics {input.metrics:q}"
        " --roc {input.roc:q} --pr {input.pr:q} --confusion {input.confusion:q}"
        " --evaluated {input.evaluated:q} --history {input.history:q} --card {input.card:q}"
        " --model {input.model:q} --events {input.events:q} --volumes {input.cards:q}"
        " --checks {input.checks:q} --labels {input.labels:q} --predictions {input.stores:q}"
        " --segmentation {input.figures:q} --segments {input.segments:q}"
        " --params-json {params.cfg:q} --log {log:q}"
