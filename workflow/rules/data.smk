rule sample:
    input:
        code=code("sample"),
    output:
        "data/raw/sample_{index}.h5",
    log:
        "data/logs/sample/{index}.log",
    conda:
        "../../envs/elektronn.yaml"
    params:
        cfg=section("sample"),
    shell:
        "elektronn sample {output:q} --index {wildcards.index}"
        " --params-json {params.cfg:q} --log {log:q}"


# In dvc.yaml the card of a volume is a dependency of what uses the volume, because dvc does not see the table.
# Here the addresses from the table are parameters, so that a new row does not touch what was made of the others.
rule volume:
    input:
        table=PARAMS.volumes if isinstance(PARAMS.volumes, str) else [],
        files=lambda w: input_files(VOLUMES[w.volume].image, VOLUMES[w.volume].labels),
    output:
        "data/interim/volumes/{volume}.json",
    log:
        "data/logs/volume/{volume}.log",
    conda:
        "../../envs/elektronn.yaml"
    params:
        row=lambda w: row_options(VOLUMES[w.volume]),
    shell:
        "elektronn volume {wildcards.volume} {output:q} {params.row} --log {log:q}"


rule boundaries:
    input:
        ids=lambda w: input_files(VOLUMES[w.volume].labels),
        code=code("boundaries"),
    output:
        "data/interim/labels/{volume}.h5",
    log:
        "data/logs/boundaries/{volume}.log",
    conda:
        "../../envs/elektronn.yaml"
    params:
        cfg=section("boundaries"),
        ids=lambda w: str(VOLUMES[w.volume].labels),
    shell:
        "elektronn boundaries {params.ids:q} {output:q}"
        " --params-json {params.cfg:q} --log {log:q}"


rule check:
    input:
        image=lambda w: input_files(VOLUMES[w.volume].image),
        labels="data/interim/labels/{volume}.h5",
        code=code("check"),
    output:
        verdict="data/interim/check/{volume}.json",
        picture=report(
            "data/interim/check/{volume}.png",
            category="Registration",
            caption="../report/check.rst",
            labels={"volume": "{volume}"},
        ),
    log:
        "data/logs/check/{volume}.log",
    conda:
        "../../envs/elektronn.yaml"
    params:
        cfg=section("check", *(f"experiments.{exp}.network" for exp in EXPERIMENTS)),
        image=image,
    shell:
        "elektronn check {params.image:q} {input.labels:q} --name {wildcards.volume}"
        " --json {output.verdict:q} --picture {output.picture:q}"
        " --params-json {params.cfg:q} --log {log:q}"
