"""How long planning and generating take, how fast the driver packs: ``python -m benchmarks > docs/benchmarks.md``."""
