"""``mixq quickstart``: the whole way, from training on real images to simulated Verilog, in a few minutes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from mixq.bits import BitAllocation
from mixq.build_folder import GRAPH_FILES, BuildFolder, make_folder
from mixq.cli.accuracy import write_accuracy
from mixq.cli.estimating import count_resources
from mixq.cli.generating import generate_rtl
from mixq.cli.models import check_torch, write_model
from mixq.cli.options import ResidueBits
from mixq.cli.planning import make_plan
from mixq.cli.progress import Stages, progress
from mixq.cli.reports import write_counts, write_page
from mixq.cli.searching import save_result
from mixq.cli.steps import Steps
from mixq.cli.verification import check_simulator, verify_frames
from mixq.errors import CheckFailed
from mixq.files import read_json, write_json
from mixq.graph import Graph

if TYPE_CHECKING:
    from mixq.data import Dataset, Samples

NETWORK, BOARD = "digits_cnn", "ultra96-v2"
MAX_DSP, MAX_LUT = 40, 10_000
#: What widths are searched within, in cycles of a frame, which ones a layer may have, and epochs of the search.
BUDGET = 192
WIDTHS = (2, 3, 4, 6)
SEARCH_EPOCHS = 8
#: Share of the test images that the integer network must get right.
LEAST_ACCURACY = 0.96
FRAMES, SEED = 20, 1
SIMULATORS = ("icarus", "verilator")
#: Test images in the report.
SAMPLES = 8


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(quickstart)


def quickstart(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The build folder.")] = Path("build/quickstart"),
    residue_bits: ResidueBits = 2,
) -> None:
    """Go the whole way: search widths, train on handwritten digits, convert, plan, generate, simulate, report.

    For every layer of a small CNN the widths are searched that cost least, where an Ultra96-V2 has to build the network
    within 192 cycles a frame, 40 DSPs and 10,000 LUTs. It is trained with them on scikit-learn's digits; 20 test images
    go through its Verilog under Icarus and Verilator, with random stalls, and must give the integers of the converted
    PyTorch model. The second time only what changed is done again.
    """
    check_tools()
    way = _Way(BuildFolder(out), residue_bits)
    steps: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("search widths", way.search),
        ("train on handwritten digits", way.train),
        ("convert to integers", way.test),
        (f"plan for {BOARD}", way.plan),
        ("generate Verilog", way.generate),
        (f"verify {FRAMES} images", way.verify),
        ("count resources", way.estimate),
        ("report", way.report),
    )
    started = time.monotonic()
    for number, (name, step) in enumerate(steps, 1):
        typer.echo(f"{number}/{len(steps)} {name}", err=True)
        if not step():
            typer.echo("unchanged", err=True)
    typer.echo(f"done in {time.monotonic() - started:.0f} s", err=True)
    for line in way.summary:
        typer.echo(line)


def check_tools() -> None:
    """UserError, with the command that installs it, for the first thing that is missing."""
    from sim.tools import find_yosys

    check_torch("mixq quickstart")
    from mixq.data.digits import load_digits

    load_digits()
    for simulator in SIMULATORS:
        check_simulator(simulator)
    find_yosys()


class _Way:
    """The steps; each returns whether there was anything to do."""

    def __init__(self, folder: BuildFolder, residue_bits: int) -> None:
        self.summary: list[str] = []
        self._folder = folder
        self._residue_bits = residue_bits
        self._steps = Steps(folder)
        self._graph_files = tuple(folder.path / name for name in GRAPH_FILES)
        self._manifest = folder.path / "manifest.json"

    @property
    def _graph(self) -> Graph:
        return self._folder.load_graph()

    @property
    def _data(self) -> Dataset:
        from mixq.data.digits import load_digits

        return load_digits()

    def search(self) -> bool:
        """Search the widths to train with."""
        from boards import load_board
        from mixq.networks import network
        from mixq.training import TrainConfig
        from nas.config import Hardware, SearchConfig
        from nas.planned import limited
        from nas.search import search

        config = SearchConfig(
            weight_widths=WIDTHS, act_widths=WIDTHS, quantizer="hwgq", budgets=(BUDGET,), points=4, refinements=1
        )
        recipe = TrainConfig(epochs=SEARCH_EPOCHS, seed=SEED)
        board = load_board(BOARD)
        limits = limited(board.resources, dsp=MAX_DSP, lut=MAX_LUT)
        hardware = Hardware(board=board, limits=limits, residue_bits=self._residue_bits)
        settings = [NETWORK, BOARD, asdict(limits), self._residue_bits, asdict(config), asdict(recipe), _versions()]
        made = (self._folder.bits,)
        if self._steps.is_done("search", settings=settings, made=made):
            return False
        make_folder(self._folder.search_run)
        with Stages() as report:
            found = search(
                network(NETWORK),
                self._data,
                config,
                recipe,
                hardware,
                run_dir=self._folder.search_run,
                jobs=os.cpu_count() or 1,
                report=report,
                fresh=True,
            )
        save_result(found, self._folder.path, self._folder.search_run, board.clock_mhz)
        self._steps.record("search", settings=settings, made=made)
        return True

    def train(self) -> bool:
        """Train with the widths, lower, and write the reference: all test images."""
        from mixq.models import build_model
        from mixq.networks import network
        from mixq.training import Progress, TrainConfig, train
        from mixq.training.logs import EpochLog

        config = TrainConfig(seed=SEED)
        report = self._folder.report
        made = (
            *self._graph_files,
            self._folder.checkpoint,
            self._folder.codes,
            self._folder.expected,
            report / "conversion.json",
        )
        settings, inputs = [NETWORK, asdict(config), _versions()], (self._folder.bits,)
        if self._steps.is_done("train", settings=settings, inputs=inputs, made=made):
            return False
        bits = BitAllocation.load(self._folder.bits)
        model = build_model(
            network(NETWORK),
            weight_bits=bits.weight_bits,
            act_bits=bits.act_bits,
            weight_range=bits.weight_range,
            quantizer=bits.quantizer,
        )
        data = self._data
        make_folder(self._folder.train_run)
        log = EpochLog(self._folder.train_run, "top1")
        with progress(f"training {NETWORK}", config.epochs) as update:

            def tell(state: Progress) -> None:
                if state.result is not None:
                    log.append(state.result)
                    update(state.epoch)

            train(model, data.train, validation=data.validation, config=config, progress=tell)
        log.close()
        graph = write_model(
            self._folder, model, origin="quickstart", pixels=data.test.images, samples=data.test, classify=True
        )
        write_counts(self._folder, graph)
        self._steps.record("train", settings=settings, inputs=inputs, made=made)
        return True

    def test(self) -> bool:
        """Measure the integer network, and keep a few images with what it says."""
        report = self._folder.report
        made = (report / "accuracy.json", report / "samples.json")
        inputs = (*self._graph_files, self._folder.checkpoint)
        done = self._steps.is_done("test", inputs=inputs, made=made)
        if not done:
            samples = self._data.test
            write_accuracy(self._folder, self._graph, samples)
            self._write_samples(samples)
            self._steps.record("test", inputs=inputs, made=made)
        value = read_json(made[0])["value"]
        if value < LEAST_ACCURACY:
            raise CheckFailed(
                f"the integer network gets {100 * value:.2f} % of the test images right, "
                f"{100 * LEAST_ACCURACY:g} % are required"
            )
        return not done

    def plan(self) -> bool:
        """Plan within the limits."""
        from boards import load_board

        settings = [BOARD, MAX_DSP, MAX_LUT, self._residue_bits]
        made = (self._folder.plan_file, self._folder.report / "estimate_layer_resources.json")
        if self._steps.is_done("plan", settings=settings, inputs=self._graph_files, made=made):
            return False
        make_plan(
            self._folder,
            self._graph,
            load_board(BOARD),
            max_dsp=MAX_DSP,
            max_lut=MAX_LUT,
            residue_bits=self._residue_bits,
        )
        self._steps.record("plan", settings=settings, inputs=self._graph_files, made=made)
        return True

    def generate(self) -> bool:
        """Generate for the DSP48E2."""
        inputs = (*self._graph_files, self._folder.plan_file)
        # Later steps note what they make in the manifest, so that only its being there counts.
        made = (self._folder.rtl,)
        if self._manifest.is_file() and self._steps.is_done("generate", inputs=inputs, made=made):
            return False
        generate_rtl(self._folder)
        self._steps.record("generate", inputs=inputs, made=made)
        return True

    def verify(self) -> bool:
        """Simulate under every simulator."""
        worked = False
        graph = self._graph
        codes, expected = (np.load(path)[:FRAMES] for path in (self._folder.codes, self._folder.expected))
        inputs = (self._folder.rtl, self._folder.codes, self._folder.expected)
        for simulator in SIMULATORS:
            made = (self._folder.report / f"rtlsim_performance_{simulator}.json",)
            settings = [FRAMES, SEED]
            name = f"verify {simulator}"
            if self._steps.is_done(name, settings=settings, inputs=inputs, made=made):
                continue
            found = verify_frames(self._folder, graph, codes, expected, simulator=simulator, stalls="random", seed=SEED)
            found.check()
            self._steps.record(name, settings=settings, inputs=inputs, made=made)
            worked = True
        return worked

    def estimate(self) -> bool:
        """Count resources."""
        inputs = (self._folder.rtl,)
        made = tuple(self._folder.report / name for name in ("synth_resources.json", "logic_depth.json"))
        if self._steps.is_done("estimate", inputs=inputs, made=made):
            return False
        count_resources(self._folder)
        self._steps.record("estimate", inputs=inputs, made=made)
        return True

    def report(self) -> bool:
        """Write the page; it is quick, and done every time."""
        self.summary = write_page(self._folder)
        return True

    def _write_samples(self, samples: Samples) -> None:
        expected = np.load(self._folder.expected)[:SAMPLES].reshape(SAMPLES, -1)
        records = [
            {
                "pixels": image[0].tolist(),
                "label": int(label),
                "prediction": int(logits.argmax()),
                "logits": logits.tolist(),
            }
            for image, label, logits in zip(samples.images, samples.labels, expected, strict=False)
        ]
        write_json(self._folder.report_file("samples.json"), records)


def _versions() -> list[str]:
    """Versions that trained weights follow from."""
    from importlib.metadata import version

    return [version(name) for name in ("torch", "numpy", "scikit-learn")]
