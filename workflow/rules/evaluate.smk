rule evaluate:
    input:
        stores=of_experiment("data/predictions/{exp}/{volume}.zarr", "valid", "test"),
        manifests=of_experiment(
            "data/predictions/{exp}/{volume}.zarr.json", "valid", "test"
        ),
        labels=of_experiment("data/interim/labels/{volume}.h5", "valid", "test"),
        checks=of_experiment("data/interim/check/{volume}.json", "valid", "test"),
        code=code("evaluate"),
    output:
        metrics="data/reports/{exp}/metrics.json",
        resolved="data/reports/{exp}/evaluate.resolved.yaml",
        roc="data/reports/{exp}/roc.csv",
        pr="data/reports/{exp}/pr.csv",
        confusion="data/reports/{exp}/confusion.csv",
        figure=report(
            "data/reports/{exp}/curves.svg",
            category="Evaluation",
            subcategory="{exp}",
            caption="../report/curves.rst",
            labels={"experiment": "{exp}", "what": "ROC and precision-recall"},
        ),
    log:
        "data/logs/evaluate/{exp}.log",
    conda:
        "../../envs/elektronn.yaml"
    params:
        cfg=section("evaluate"),
        volumes=lambda w: pair_options(
            w.exp,
            PARAMS.experiments[w.exp],
            VOLUMES,
            f"data/predictions/{w.exp}/{{volume}}.zarr",
            "data/interim/labels/{volume}.h5",
        ),
    shell:
        "elektronn evaluate {params.volumes} --json {output.metrics:q} --roc {output.roc:q}"
        " --pr {output.pr:q} --confusion {output.confusion:q} --figure {output.figure:q}"
        " --resolved {output.resolved:q}"
        " --params-json {params.cfg:q} --log {log:q}"
