"""What Snakemake and DVC share: both graphs in one shape, and adoption."""
