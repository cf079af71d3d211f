"""What every process of a small search would begin with, done once in the process that they are forked from."""

from __future__ import annotations

from itertools import product

# Deterministic algorithms load it, which takes longer than the training of a small search.
import torch._inductor  # noqa: F401

from mixq.packing import candidates
from tests.nas import small

for weight_bits, act_bits, kernel in product(small.CONFIG.weight_widths, small.CONFIG.act_widths, (3, 1)):
    candidates(weight_bits, act_bits, kernel, weight_range="narrow")
