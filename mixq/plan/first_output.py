"""When a layer gives its first outputs."""

from __future__ import annotations

from mixq.plan.folding import Folding


def first_block_end(folding: Folding) -> int:
    """Cycle of the step that completes a frame's first outputs, counted from its first input beat.

    For a frame on its own of which a beat comes in each cycle, while the output does not stall.
    """
    scan, shape = folding.scan, folding.shape

    def written(row: int, group: int) -> int:
        newest = min(max(row * shape.stride + shape.extent - 1 - shape.sides[0], 0), scan.rows - 1)
        return _beats_until(folding, newest, min(group, scan.groups - 1))

    end = -1
    for group in range(scan.steps):
        for fold in range(folding.folds):
            end = max(end + 1, written(0, group)) + folding.steps - 1
            complete = group >= folding.delay and not (folding.drops_groups and (group - folding.delay) % 2)
            if complete and fold == 0:
                return end
    # The row is so short that its first outputs are its last: with the next row's first block, or before it.
    alone = end + folding.out_interval
    together = max(end + 1, written(1, 0))
    return together + folding.steps - 1 if scan.out_rows > 1 and together <= alone else alone


def _beats_until(folding: Folding, row: int, group: int) -> int:
    """Input beats of a frame up to and with those of a group of pixels of a row, both as ``folding.scan`` counts."""
    shape, pixels = folding.shape, folding.packing.pixels
    if folding.merged_rows:
        row, group = divmod(row, folding.groups)
    if folding.in_pixels == pixels:
        return (row * folding.groups + group + 1) * folding.line_words
    return (row * shape.width + min((group + 1) * pixels, shape.width)) * folding.line_words
