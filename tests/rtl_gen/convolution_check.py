"""The check that every convolution stage of the tests goes through, against the interpreter."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from mixq.execute import run
from sim.stage import Scenario, StageBench
from tests.rtl_gen.convolution_cases import Case, graph_of, stage_of
from tests.rtl_gen.stages import STALLS, masks_of, random_frames, with_noise

FRAMES = 4


def check(case: Case, simulator: str, work_dir: Path) -> None:
    """Codes in every scenario; the latency of a frame on its own, the cycles of frames that others follow."""
    graph = graph_of(case)
    stage = stage_of(case, graph)
    codes = random_frames(stage.input_shape, FRAMES, case.seed)
    if case.values == "corner":
        codes[::2] = codes.max()
        codes[1::2] = codes.min()
    inputs = with_noise(stage.input_shape, stage.input_shape.pack(codes))
    expected = stage.output_shape.pack(run(graph, codes))
    masks = masks_of(stage.output_shape)
    random_stalls, *others = STALLS
    bench = StageBench(stage, work_dir=work_dir, simulator=simulator)
    first = [len(beats) // FRAMES for beats in (inputs, expected)]
    alone, free, *_ = bench.run_all(
        [
            Scenario(inputs[: first[0]], expected[: first[1]], masks, probe=False),
            Scenario(inputs, expected, masks, FRAMES, probe=False),
            Scenario(inputs, expected, masks, FRAMES, stalls=random_stalls, seed=case.seed % 1000, resets=2),
            Scenario(inputs, expected, masks, FRAMES, stalls=others[case.seed % len(others)]),
        ]
    )
    assert alone.latency == stage.latency
    # The last outputs of a frame that nothing follows leave as soon as they can, which may be earlier.
    steady = free.last_output_cycles[1:-1]
    assert {later - earlier for earlier, later in pairwise(steady)} == {stage.cycles_per_frame}
    assert stage.cycles_per_frame == case.folding.cycles_per_frame
