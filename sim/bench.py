"""The cocotb bench: drives one stream into a design, takes one out of it, and writes down what happened.

Runs inside a simulator. What to do stands in the JSON file that ``MIXQ_BENCH_JOB`` names, see
:mod:`sim.cocotb_run`, which writes it; several scenarios run one after the other in one process. The bench never
fails by itself: it writes errors and cycles into the result file, and whoever started it judges them.
"""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cocotb
from cocotb.handle import Immediate
from cocotb.triggers import Timer

from sim.deadlock import SIGNALS
from sim.streams import Beats, StreamDriver, StreamMonitor, StreamPorts

_HALF_CYCLE = Timer(5, "step")
# The pulse of a clock of twice the frequency, and the rest of the half cycle.
_PULSE, _REST = Timer(2, "step"), Timer(3, "step")
_SETTLE = Timer(1, "step")

#: In one cycle of so many, ready is turned over for a moment to see that valid does not follow.
_PROBE_EVERY = 4


@dataclass(frozen=True)
class _Job:
    """The part of the job that holds for all scenarios."""

    clock: str
    reset: str
    active_low: bool
    input: StreamPorts
    output: StreamPorts
    progress: Path | None
    fast_clock: str | None
    fast_reset: str | None
    streams: tuple[str, ...] | None


@dataclass
class _Phase:
    """What happened from one reset to the next."""

    driver: StreamDriver
    monitor: StreamMonitor
    cycles: int = 0
    hang: str = ""
    streams: dict[str, str] | None = None

    @property
    def errors(self) -> list[str]:
        """All errors so far."""
        return [*self.driver.errors, *self.monitor.errors]


class _Scenario:
    """One scenario on the running design."""

    def __init__(self, dut: Any, job: _Job, vector: dict[str, Any], settings: dict[str, Any]) -> None:
        self._dut, self._job, self._settings = dut, job, settings
        self._clock, self._reset = getattr(dut, job.clock), getattr(dut, job.reset)
        self._fast_clock = getattr(dut, job.fast_clock) if job.fast_clock else None
        self._fast_reset = getattr(dut, job.fast_reset) if job.fast_reset else None
        self._inputs = Beats(
            tuple(vector["input_frames"]), _integers(vector["inputs"]), _integers(vector["input_keeps"])
        )
        self._outputs = Beats(
            tuple(vector["output_frames"]), _integers(vector["expected"]), _integers(vector["output_keeps"])
        )
        self._masks = _integers(vector["masks"])
        self._random = random.Random(f"{settings['seed']}/bench")

    async def run(self) -> dict[str, Any]:
        """Reset, interrupt frames as often as asked to, then run all frames and see that nothing follows."""
        errors: list[str] = []
        span = 2 * max(self._inputs.frames) + 32
        for interruption in range(self._settings["resets"]):
            phase = await self._start(f"interrupted {interruption}")
            stop = self._random.randint(1, span)
            while not phase.errors and phase.cycles < stop:
                await self._cycle(phase)
            errors.extend(f"before reset {interruption}: {error}" for error in phase.errors)
            if errors:
                break
        phase = await self._start("whole")
        if not errors:
            await self._whole(phase)
            errors = phase.errors
        return {
            "errors": errors,
            "hang": phase.hang,
            "streams": phase.streams,
            "inputs": phase.driver.accepted_cycles,
            "outputs": phase.monitor.accepted_cycles,
            "payloads": [f"{payload:x}" for payload in phase.monitor.payloads],
            "handshakes": phase.monitor.handshakes,
            "cycles": phase.cycles,
        }

    async def _start(self, name: str) -> _Phase:
        """Reset the design for a few cycles; valid must fall and stay low until something was put in."""
        seed = f"{self._settings['seed']}/{name}"
        driver = StreamDriver(self._dut, self._job.input, self._inputs, mode=self._settings["driver"], seed=seed)
        monitor = StreamMonitor(
            self._dut, self._job.output, self._outputs, masks=self._masks, mode=self._settings["sink"], seed=seed
        )
        for cycle in range(self._random.randint(2, 4)):
            self._set_clock(0)
            self._set_reset(True)
            monitor.drive()
            await self._half_cycle()
            if cycle > 0:
                monitor.in_reset(cycle, "in reset")
            self._set_clock(1)
            await self._half_cycle()
        self._clock.value = Immediate(0)
        self._set_reset(False)
        phase = _Phase(driver, monitor)
        # AXI forbids valid in the first cycle after reset; a plain stream may start at once.
        idle = self._random.randint(0 if self._job.input.last is None else 1, 2)
        for _ in range(idle):
            await self._cycle(phase, start=False)
        return phase

    async def _whole(self, phase: _Phase) -> None:
        """Run until every beat went in and came out, then on for the tail."""
        quiet, frames = 0, 0
        while not (phase.driver.done and phase.monitor.done):
            moved = await self._cycle(phase)
            if phase.errors and self._settings["stop"]:
                return
            quiet = 0 if moved else quiet + 1
            if quiet > self._settings["stall_limit"]:
                phase.hang = self._hang(phase)
                phase.streams = self._streams()
                return
            if self._job.progress is not None and phase.monitor.frames != frames:
                frames = phase.monitor.frames
                self._job.progress.write_text(str(frames))
        for _ in range(self._settings["tail_cycles"]):
            await self._cycle(phase)

    async def _cycle(self, phase: _Phase, *, start: bool = True) -> bool:
        """One clock cycle; returns whether a beat moved on either side."""
        driver, monitor, cycle = phase.driver, phase.monitor, phase.cycles
        self._set_clock(0)
        if start:
            driver.drive()
        monitor.drive()
        await self._half_cycle()
        if self._settings["probe"] and self._random.randrange(_PROBE_EVERY) == 0:
            monitor.begin_probe()
            await _SETTLE
            monitor.end_probe(cycle)
            await _SETTLE
        if not driver.offering and not driver.accepted_cycles:
            monitor.in_reset(cycle, "after reset, before any input")
        took = monitor.sample(cycle)
        gave = driver.sample(cycle)
        self._set_clock(1)
        await self._half_cycle()
        phase.cycles += 1
        return took or gave

    def _set_clock(self, level: int) -> None:
        """Start a half cycle. The faster clock rises with either edge, before the simulator evaluates any of them."""
        self._clock.value = Immediate(level)
        if self._fast_clock is not None:
            self._fast_clock.value = Immediate(1)

    async def _half_cycle(self) -> None:
        if self._fast_clock is None:
            await _HALF_CYCLE
            return
        await _PULSE
        self._fast_clock.value = Immediate(0)
        await _REST

    def _set_reset(self, on: bool) -> None:
        self._reset.value = Immediate(int(on != self._job.active_low))
        if self._fast_reset is not None:
            self._fast_reset.value = Immediate(int(on != self._job.active_low))

    def _hang(self, phase: _Phase) -> str:
        def level(name: str) -> str:
            return f"{name} {getattr(self._dut, name).value}"

        ports = (
            self._job.input.valid,
            self._job.input.ready,
            self._job.output.valid,
            self._job.output.ready,
        )
        return (
            f"cycle {phase.cycles}: no beat for {self._settings['stall_limit']} cycles: "
            f"{len(phase.driver.accepted_cycles)} of {sum(self._inputs.frames)} beats in, "
            f"{len(phase.monitor.accepted_cycles)} of {sum(self._outputs.frames)} out, "
            f"{', '.join(level(name) for name in ports)}"
        )

    def _streams(self) -> dict[str, str] | None:
        """The handshakes of the named streams inside the design, the first one's bit first."""
        if self._job.streams is None:
            return None
        holder = self._dut
        for instance in self._job.streams:
            holder = getattr(holder, instance)
        return {name: str(getattr(holder, signal).value)[::-1] for name, signal in SIGNALS.items()}


def _integers(values: list[str] | None) -> list[int] | None:
    return None if values is None else [int(value, 16) for value in values]


def _ports(names: dict[str, Any]) -> StreamPorts:
    return StreamPorts(**names)


@cocotb.test()
async def run_scenarios(dut: Any) -> None:
    """Run every scenario of the job and write the result file."""
    text = json.loads(Path(os.environ["MIXQ_BENCH_JOB"]).read_text())
    job = _Job(
        clock=text["clock"],
        reset=text["reset"],
        active_low=text["active_low"],
        input=_ports(text["input"]),
        output=_ports(text["output"]),
        progress=Path(text["progress"]) if text["progress"] else None,
        fast_clock=text["fast_clock"],
        fast_reset=text["fast_reset"],
        streams=None if text["streams"] is None else tuple(text["streams"]),
    )
    # Writes at time 0 can lose against the initial values of the simulator's own nets.
    await _SETTLE
    for name, value in text["constants"].items():
        getattr(dut, name).value = Immediate(value)
    results = []
    for settings in text["scenarios"]:
        scenario = _Scenario(dut, job, text["vectors"][settings["vector"]], settings)
        results.append(await scenario.run())
    Path(text["result"]).write_text(json.dumps(results))
