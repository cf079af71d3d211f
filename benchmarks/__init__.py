"""How long planning and generating take, and how much memory: ``python -m benchmarks > docs/benchmarks.md``."""
