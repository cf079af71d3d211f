"""What every test may use: the shared data, and a count of the tests that ran in each simulator."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Worker processes share the cores, so each computes with its part of them, as do the programs that it starts: threads
# that wait for a core spin. Set before PyTorch and NumPy read it; what a result depends on, recipes say themselves.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    _THREADS = len(os.sched_getaffinity(0)) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _THREADS)))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
SIMULATORS = ("icarus", "verilator")


def find_shared() -> Path | None:
    """The folder of shared data: MIXQ_SHARED if that is set, else ``shared`` beside the checkout, or None."""
    named = os.environ.get("MIXQ_SHARED")
    folder = Path(named) if named else ROOT.parent / "shared"
    if named and not folder.is_dir():
        raise pytest.UsageError(f"MIXQ_SHARED must name a folder, not {named!r}")
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data; without it the test is skipped."""
    folder = find_shared()
    if folder is None:
        pytest.skip("no shared data: set MIXQ_SHARED, or put a folder `shared` beside the checkout")
    return folder


def simulators_of(item: pytest.Item) -> set[str]:
    """The simulators that a test runs, by its ``simulator`` parameter, else by its markers."""
    callspec = getattr(item, "callspec", None)
    named = callspec.params.get("simulator") if callspec is not None else None
    if isinstance(named, str):
        return {named}
    marked = {name for name in SIMULATORS if item.get_closest_marker(name)}
    if not marked and item.get_closest_marker("cocotb"):
        marked = {"icarus"}
    return marked


class SimulatorCount:
    """Counts passed tests per simulator, over all worker processes, and demands some where asked to."""

    def __init__(self, required: list[str]) -> None:
        self.required = required
        self.passed: Counter[str] = Counter()

    def missing(self) -> list[str]:
        """The required simulators in which no test passed."""
        return [name for name in self.required if not self.passed[name]]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            self.passed.update(str(value) for key, value in report.user_properties if key == "simulator")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        names = [*SIMULATORS, *sorted(set(self.passed) - set(SIMULATORS))]
        counts = ", ".join(f"{name} {self.passed[name]} tests" for name in names)
        terminalreporter.write_line(f"simulators: {counts}")
        for name in self.missing():
            terminalreporter.write_line(f"ERROR: no test passed in {name}", red=True)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.missing() and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-simulators",
        default="",
        metavar="NAMES",
        help="comma-separated simulators in each of which at least one test must pass",
    )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # worker processes report to the one that counts
        required = [name for name in config.getoption("--require-simulators").split(",") if name]
        config.pluginmanager.register(SimulatorCount(required), "simulator-count")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.user_properties.extend(("simulator", name) for name in sorted(simulators_of(item)))
    # Files that take long begin first: no process is left alone with one when the others have ended.
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


def fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turns a skip into a failure: where the shared data are, everything that the tests need is."""
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} must not be skipped where the shared data are there: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if find_shared() is not None and not item.get_closest_marker("gpu"):
        fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if find_shared() is not None:
        fail_if_skipped(report)
    return report
