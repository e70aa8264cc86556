# IDs → boundaries → check → train → predict → evaluate → report, for every experiment of params.yaml.
#
#   snakemake --cores 8 train_neuro       one experiment, through to its report
#   snakemake --cores 8                   all experiments and all checks
#   snakemake --directory examples/isbi2012 --cores 2     another parameter file with its own data tree
from snakemake.utils import min_version

min_version("9.5")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


if IS_LOCAL:
    # it uses one GPU at a time unless --resources gpu=N says otherwise
    workflow.global_resources.setdefault("gpu", 1)


wildcard_constraints:
    exp="|".join(EXPERIMENTS) or "none",
    volume="|".join(VOLUMES) or "none",
    index=r"\d+",


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/segment.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        expand("data/reports/{exp}/index.html", exp=EXPERIMENTS),
        expand("data/interim/check/{volume}.json", volume=LABELLED),
        SEGMENTED,
    localrule: True
