# Only for the experiments that ask for it: experiments.<name>.segment lists the roles of the volumes.
rule segmentation:
    input:
        store="data/predictions/{exp}/{volume}.zarr",
        manifest="data/predictions/{exp}/{volume}.zarr.json",
        code=code("segment"),
    output:
        store=directory("data/segmentations/{exp}/{volume}.zarr"),
        manifest="data/segmentations/{exp}/{volume}.zarr.json",
    log:
        "data/logs/segment/{exp}/{volume}.log",
    benchmark:
        "data/benchmarks/segment/{exp}/{volume}.tsv"
    conda:
        "../../envs/elektronn.yaml"
    resources:
        mem_mb=4000,
        runtime=1440,
    params:
        cfg=section("segment"),
        voxel=voxel,
    shell:
        "elektronn segment {input.store:q} {output.store:q} --manifest {output.manifest:q} {params.voxel}"
        " --params-json {params.cfg:q} --log {log:q}"


rule evaluate_segments:
    input:
        stores=of_segmented("data/segmentations/{exp}/{volume}.zarr"),
        manifests=of_segmented("data/segmentations/{exp}/{volume}.zarr.json"),
        ids=lambda w: input_files(*(row.labels for row in with_ids(w.exp))),
        code=code("evaluate"),
    output:
        "data/reports/{exp}/segments.json",
    log:
        "data/logs/evaluate_segments/{exp}.log",
    conda:
        "../../envs/elektronn.yaml"
    params:
        cfg=section("evaluate.segments"),
        volumes=lambda w: segment_options(
            with_ids(w.exp), f"data/segmentations/{w.exp}/{{volume}}.zarr"
        ),
    shell:
        "elektronn evaluate --segmentation {params.volumes} --json {output:q}"
        " --params-json {params.cfg:q} --log {log:q}"


rule segment:
    input:
        SEGMENTED,
    localrule: True
