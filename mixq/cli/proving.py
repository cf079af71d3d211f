"""Proofs of packings on the command line, for ``mixq packings --prove``."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mixq.cli.progress import progress
from mixq.cli.tables import Cell, show_table
from mixq.errors import CheckFailed
from mixq.packing import Packing
from mixq.packing.proof import RANDOM_PRODUCTS, Summary, prove

_SHOWN_FAILURES = 3


def run_proofs(
    packings: Sequence[Packing], products: int = RANDOM_PRODUCTS, *, processes: int | None = None
) -> Summary:
    """Prove packings and write how many were proved, and how.

    products: random ones for each product that is proved by SMT. processes: by default one for each CPU that this
    process may use. Raises CheckFailed with the first failures where a proof fails, UserError where Z3 is missing.
    """
    if processes is None:
        processes = len(os.sched_getaffinity(0))
    with progress("proving packings") as update:
        summary = prove(packings, products=products, processes=processes, progress=update)
    _show(summary)
    if summary.failures:
        shown = [f"{proof.product!r}: {proof.failed}" for proof in summary.failures[:_SHOWN_FAILURES]]
        packed = summary.exhaustive + summary.smt
        raise CheckFailed(f"{len(summary.failed)} of {packed} packings are not exact, first {'; '.join(shown)}")
    return summary


def _show(summary: Summary) -> None:
    kinds = [("exhaustively", "exhaustive", summary.exhaustive), ("by SMT", "smt", summary.smt)]
    rows: list[tuple[Cell, ...]] = []
    for name, kind, packings in kinds:
        proofs = [proof for proof in summary.proofs if proof.kind == kind]
        rows.append((name, packings, len(proofs), sum(proof.cases for proof in proofs)))
    rows.append(("together", summary.exhaustive + summary.smt, len(summary.proofs), summary.cases))
    rows.append(("failed", len(summary.failed), len(summary.failures), None))
    show_table(("proof", "packings", "different products", "cases"), rows)
