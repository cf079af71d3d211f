"""Checks one Amaranth stage, beat for beat, in a simulator.

>>> from sim.stage import Scenario, StageBench
>>> bench = StageBench(component, simulator="icarus", work_dir=tmp_path)      # doctest: +SKIP
>>> fast, stalled = bench.run_all([                                           # doctest: +SKIP
...     Scenario(inputs, expected, frames=3),
...     Scenario(inputs, expected, frames=3, stalls=("random", "random"), seed=7, resets=2),
... ])
>>> assert fast.latency == component.latency                                  # doctest: +SKIP
>>> assert fast.cycles_per_frame == component.cycles_per_frame                # doctest: +SKIP
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amaranth.back import verilog

from mixq.errors import CheckFailed
from sim import cocotb_run
from sim.deadlock import Handshakes, deadlock, find_streams
from sim.stalls import DRIVER_MODES, SINK_MODES
from sim.streams import StreamPorts
from sim.verilog_source import library_sources, module_ports


@dataclass(frozen=True)
class Scenario:
    """Frames to send through a stage, what must come out, and how the two sides stall.

    Parameters
    ----------
    inputs, expected : payloads of all beats of all frames, in order
    masks : payload bits that matter, for each beat of one output frame; None where all do
    frames : how many frames these are, back to back
    stalls : modes of the driver and of the sink, see :mod:`sim.stalls`
    seed : of stalls, noise between beats, and resets
    resets : so often, frames are begun and reset at a random cycle, before all frames run unbroken
    tail_cycles : idle cycles after the last beat, in which nothing more may come out
    stall_limit : cycles without a beat on either side that count as a hang
    probe : turn ready over within cycles at random, to see that valid does not follow it

    Raises
    ------
    ValueError : a length is no multiple of ``frames``, or a value is out of range.
    """

    inputs: Sequence[int]
    expected: Sequence[int]
    masks: Sequence[int] | None = None
    frames: int = 1
    stalls: tuple[str, str] = ("none", "none")
    seed: int = 0
    resets: int = 0
    tail_cycles: int = 64
    stall_limit: int = 20_000
    probe: bool = True

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError(f"frames must be at least 1, not {self.frames!r}")
        for name, values in (("inputs", self.inputs), ("expected", self.expected)):
            if not values or len(values) % self.frames:
                raise ValueError(f"{name} must hold beats for {self.frames} frames, not {len(values)!r}")
        if self.masks is not None and len(self.masks) != self.output_beats:
            raise ValueError(f"masks must hold {self.output_beats} values, not {len(self.masks)!r}")
        driver, sink = self.stalls
        if driver not in DRIVER_MODES or sink not in SINK_MODES:
            raise ValueError(f"stalls must be a mode of a driver and one of a sink, not {self.stalls!r}")
        if self.resets < 0:
            raise ValueError(f"resets must be at least 0, not {self.resets!r}")

    @property
    def input_beats(self) -> int:
        """Beats of one input frame."""
        return len(self.inputs) // self.frames

    @property
    def output_beats(self) -> int:
        """Beats of one output frame."""
        return len(self.expected) // self.frames


@dataclass(frozen=True)
class StageRun:
    """A scenario that held: when each beat moved, in cycles since reset.

    ``outputs`` are the payloads, ``input_cycles`` and ``output_cycles`` the cycle in which each beat was
    accepted, ``handshakes`` how they met (see :class:`sim.streams.StreamMonitor`), ``cycles`` the whole run's.
    """

    scenario: Scenario = field(repr=False)
    outputs: tuple[int, ...] = field(repr=False)
    input_cycles: tuple[int, ...] = field(repr=False)
    output_cycles: tuple[int, ...] = field(repr=False)
    handshakes: Mapping[str, int]
    cycles: int

    @property
    def first_input_cycles(self) -> tuple[int, ...]:
        """Cycle of each frame's first input beat."""
        return self.input_cycles[:: self.scenario.input_beats]

    @property
    def last_input_cycles(self) -> tuple[int, ...]:
        """Cycle of each frame's last input beat."""
        return self.input_cycles[self.scenario.input_beats - 1 :: self.scenario.input_beats]

    @property
    def first_output_cycles(self) -> tuple[int, ...]:
        """Cycle of each frame's first output beat."""
        return self.output_cycles[:: self.scenario.output_beats]

    @property
    def last_output_cycles(self) -> tuple[int, ...]:
        """Cycle of each frame's last output beat."""
        return self.output_cycles[self.scenario.output_beats - 1 :: self.scenario.output_beats]

    @property
    def latency(self) -> int:
        """Cycles from the first accepted input beat to the first output beat; the stage's when nothing stalls."""
        return self.output_cycles[0] - self.input_cycles[0]

    @property
    def cycles_per_frame(self) -> int:
        """Cycles between the last beats of the last two frames; the stage's when nothing stalls.

        Raises:
            ValueError: there are fewer than three frames, so that no steady state is seen.
        """
        if self.scenario.frames < 3:
            raise ValueError(f"frames must be at least 3 to measure a rate, not {self.scenario.frames!r}")
        return self.last_output_cycles[-1] - self.last_output_cycles[-2]


class StageBench:
    """An Amaranth component with streams ``i`` and ``o``, compiled once for any number of scenarios.

    Parameters
    ----------
    component : with members ``i`` and ``o``, plain unsigned payloads; a property ``memory_images`` (file name
        to text) where its Verilog reads memory images
    simulator : "icarus" or "verilator"
    work_dir : folder for everything that is made; the caller's to remove
    extra_sources : Verilog files besides the hand-written modules, which are found by name
    constants : values of inputs besides clock, reset and streams; 0 for those not named

    Raises
    ------
    UserError : the simulator is missing. CheckFailed : it refuses the Verilog.
    """

    def __init__(
        self,
        component: Any,
        *,
        work_dir: Path,
        simulator: str = "icarus",
        extra_sources: Sequence[Path] = (),
        constants: Mapping[str, int] | None = None,
    ) -> None:
        self._simulator = simulator
        self._top = _module_name(component)
        self._folder = Path(work_dir) / f"{self._top}_{simulator}"
        self._folder.mkdir(parents=True, exist_ok=True)
        text = verilog.convert(component, name=self._top, strip_internal_attrs=True)
        source = self._folder / f"{self._top}.v"
        source.write_text(text)
        for name, image in getattr(component, "memory_images", {}).items():
            (self._folder / name).write_text(image)
        self._streams = find_streams(text, self._top)
        self._interface = self._make_interface(text, constants or {})
        extra_texts = [Path(path).read_text() for path in extra_sources]
        sources = [source, *(Path(path).resolve() for path in extra_sources)]
        sources += library_sources([text, *extra_texts])
        public = self._streams.module if self._streams else None
        cocotb_run.build(sources, top=self._top, simulator=simulator, folder=self._folder, streams_module=public)

    def _make_interface(self, text: str, constants: Mapping[str, int]) -> cocotb_run.Interface:
        given, taken = StreamPorts.plain("i"), StreamPorts.plain("o")
        driven = {"clk", "rst", given.payload, given.valid, taken.ready}
        ports = module_ports(text, self._top)
        missing = (driven | {given.ready, taken.valid, taken.payload}) - set(ports)
        if missing:
            raise ValueError(f"component must have clocked streams i and o; not in its ports: {sorted(missing)!r}")
        inputs = {name for name, port in ports.items() if port.direction == "input"}
        fast = {name: name if name in inputs else None for name in ("fast_clk", "fast_rst")}
        driven |= {name for name in fast if name in inputs}
        unknown = set(constants) - (inputs - driven)
        if unknown:
            raise ValueError(f"constants must name inputs of the component, not {sorted(unknown)!r}")
        values = {name: constants.get(name, 0) for name in sorted(inputs - driven)}
        return cocotb_run.Interface(
            clock="clk",
            reset="rst",
            active_low=False,
            input=given,
            output=taken,
            constants=values,
            fast_clock=fast["fast_clk"],
            fast_reset=fast["fast_rst"],
            streams=self._streams.path if self._streams else None,
        )

    def run(self, scenario: Scenario) -> StageRun:
        """Run one scenario; see :meth:`run_all`."""
        return self.run_all([scenario])[0]

    def run_all(self, scenarios: Sequence[Scenario]) -> list[StageRun]:
        """Run scenarios in one simulator process (which takes about a second to start).

        Raises:
            CheckFailed: a beat differs or a rule of streams is broken; the message holds the scenario's number,
                stalls and seed, and the first error. Deadlock: an accelerator hangs for a full FIFO.
        """
        outcomes = cocotb_run.run(
            self._folder,
            top=self._top,
            simulator=self._simulator,
            interface=self._interface,
            vectors=[_vector(scenario) for scenario in scenarios],
            scenarios=[_settings(number, scenario) for number, scenario in enumerate(scenarios)],
        )
        runs = []
        for number, (scenario, outcome) in enumerate(zip(scenarios, outcomes, strict=True)):
            failures = [*outcome.errors, *([outcome.hang] if outcome.hang else [])]
            if failures:
                raise self._failure(outcome, number, scenario, failures[0])
            runs.append(
                StageRun(
                    scenario=scenario,
                    outputs=tuple(outcome.payloads),
                    input_cycles=tuple(outcome.inputs),
                    output_cycles=tuple(outcome.outputs),
                    handshakes=outcome.handshakes,
                    cycles=outcome.cycles,
                )
            )
        return runs

    def _failure(self, outcome: cocotb_run.Outcome, number: int, scenario: Scenario, first: str) -> CheckFailed:
        """What is wrong with a scenario; Deadlock where nothing moved any more and the streams inside say why."""
        said = (
            f"{self._top} in {self._simulator}, scenario {number}, stalls {'/'.join(scenario.stalls)}, "
            f"seed {scenario.seed}: {first}"
        )
        if self._streams is not None and outcome.streams is not None and not outcome.errors:
            found = deadlock(self._streams.labels, Handshakes(**outcome.streams), said)
            if found is not None:
                return found
        return CheckFailed(said)


def check_stage(
    component: Any,
    inputs: Sequence[int],
    expected: Sequence[int],
    *,
    work_dir: Path,
    masks: Sequence[int] | None = None,
    frames: int = 1,
    stalls: tuple[str, str] = ("none", "none"),
    seed: int = 0,
    simulator: str = "icarus",
    extra_sources: Sequence[Path] = (),
    resets: int = 0,
) -> StageRun:
    """Compile a component and run one scenario; :class:`StageBench` and :class:`Scenario` explain the rest."""
    scenario = Scenario(inputs, expected, masks=masks, frames=frames, stalls=stalls, seed=seed, resets=resets)
    bench = StageBench(component, work_dir=work_dir, simulator=simulator, extra_sources=extra_sources)
    return bench.run(scenario)


def _module_name(component: Any) -> str:
    """Legal and no keyword, so that a waveform names the component."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(component).__name__).lower()
    return "stage_" + re.sub(r"[^a-z0-9_]", "", snake)


def _vector(scenario: Scenario) -> cocotb_run.Vector:
    return cocotb_run.Vector(
        inputs=scenario.inputs,
        input_frames=(scenario.input_beats,) * scenario.frames,
        output_frames=(scenario.output_beats,) * scenario.frames,
        expected=scenario.expected,
        masks=scenario.masks,
    )


def _settings(number: int, scenario: Scenario) -> cocotb_run.Settings:
    return cocotb_run.Settings(
        vector=number,
        driver=scenario.stalls[0],
        sink=scenario.stalls[1],
        seed=scenario.seed,
        resets=scenario.resets,
        tail_cycles=scenario.tail_cycles,
        stall_limit=scenario.stall_limit,
        stop=True,
        probe=scenario.probe,
    )
