"""Proofs that packings are exact: exhaustive where operands are few enough, by an SMT solver otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Literal

from mixq.packing.lemma import Lemma, control_fault, lane_fault, load_solver, operand_fault
from mixq.packing.packing import Packing
from mixq.packing.product import Product
from mixq.packing.trials import operand_space, try_all, try_random

EXHAUSTIVE_SPACE = 1 << 24
"""Members of an operand space that are all tried."""

RANDOM_PRODUCTS = 10_000_000
"""Random products that a proof by SMT tries besides, each a multiplication of the DSP or of the pair."""

Kind = Literal["exhaustive", "smt"]


@dataclass(frozen=True)
class Proof:
    """What was tried of one product.

    cases: sums compared with the direct ones where exhaustive, random products otherwise. failed: None, or one line
    with a counterexample.
    """

    product: Product
    kind: Kind
    cases: int
    failed: str | None = None


@dataclass(frozen=True)
class Summary:
    """What was proved of many packings.

    proofs: one for each different product. exhaustive, smt: packings proved so, a packing of several products
    exhaustively where all of these were. failed: packings with a product whose proof failed.
    """

    proofs: tuple[Proof, ...]
    exhaustive: int
    smt: int
    failed: tuple[Packing, ...]

    @property
    def cases(self) -> int:
        """Sums and random products tried."""
        return sum(proof.cases for proof in self.proofs)

    @property
    def failures(self) -> tuple[Proof, ...]:
        """Proofs that failed."""
        return tuple(proof for proof in self.proofs if proof.failed)


def products_of(packing: Packing) -> tuple[Product, ...]:
    """The different products that a unit computes, shares of fewer taps at the end of a kernel row included."""
    return tuple(dict.fromkeys(slot.product for slot in packing.slots))


def product_kind(product: Product) -> Kind:
    """How a product is proved: exhaustively where a whole sum has an operand space of at most 2^24 members.

    The sum is of :attr:`Product.accumulate_max` products, so that carry-tracked ones are always proved by SMT.
    """
    depth = product.accumulate_max
    # Each operand takes two values at least; deep sums need no large power.
    small = depth * (product.pixels + product.channels * product.taps) <= EXHAUSTIVE_SPACE.bit_length()
    return "exhaustive" if small and operand_space(product, depth) <= EXHAUSTIVE_SPACE else "smt"


def proof_kind(packing: Packing) -> Kind:
    """How a packing is proved: exhaustively where all of its products are.

    >>> from mixq.packing import solve
    >>> proof_kind(solve(1, 1)), proof_kind(solve(4, 4))
    ('exhaustive', 'smt')
    """
    return "exhaustive" if all(product_kind(p) == "exhaustive" for p in products_of(packing)) else "smt"


def prove_product(
    product: Product, *, products: int = RANDOM_PRODUCTS, seed: int = 0, proved: set[Lemma] | None = None
) -> Proof:
    """Prove that a product's lanes are exactly the sums of products, for all sums that it allows.

    Exhaustively: every operand of every sum is compared (:func:`mixq.packing.trials.try_all`). Otherwise by
    :func:`mixq.packing.lemma.operand_fault` and :func:`mixq.packing.lemma.lane_fault`, and ``products`` random products
    besides, which hold the proof's model to the arithmetic. In both cases the limits must be tight:
    :func:`mixq.packing.lemma.control_fault`.

    proved: lemmas that need no second proof, see :func:`mixq.packing.lemma.lane_fault`. Raises UserError where Z3 is
    needed and missing.
    """
    kind = product_kind(product)
    cases = 0
    if kind == "exhaustive":
        cases, failed = try_all(product)
    else:
        failed = operand_fault(product) or lane_fault(product, proved)
        if not failed:
            cases, failed = try_random(product, products, seed)
    return Proof(product, kind, cases, failed or control_fault(product))


def prove(
    packings: Iterable[Packing],
    *,
    products: int = RANDOM_PRODUCTS,
    seed: int = 0,
    processes: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Prove packings, each different product once, however many packings, kernels and signednesses share it.

    products, seed: as in :func:`prove_product`. progress: called with the products proved and their number.
    """
    different = list(dict.fromkeys(packings))
    parts = {packing: products_of(packing) for packing in different}
    # Products with equal lanes share their lemmas, and so stay together.
    groups: dict[object, list[Product]] = {}
    for product in dict.fromkeys(product for found in parts.values() for product in found):
        groups.setdefault((product.lanes, product.pair, product.tracked), []).append(product)
    total = sum(map(len, groups.values()))
    if any(product_kind(product) == "smt" for group in groups.values() for product in group):
        load_solver()  # its absence is told before the work
    proofs: dict[Product, Proof] = {}
    for proof in _proofs(list(groups.values()), products, seed, processes):
        proofs[proof.product] = proof
        progress(len(proofs), total)
    kinds = [proof_kind(packing) for packing in parts]
    return Summary(
        tuple(proofs.values()),
        kinds.count("exhaustive"),
        kinds.count("smt"),
        tuple(packing for packing, found in parts.items() if any(proofs[product].failed for product in found)),
    )


def _proofs(groups: list[list[Product]], products: int, seed: int, processes: int) -> Iterator[Proof]:
    if processes == 1:
        for group in groups:
            yield from _prove_group(group, products, seed)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for found in pool.map(partial(_prove_list, products=products, seed=seed), groups):
            yield from found


def _prove_group(group: Sequence[Product], products: int, seed: int) -> Iterator[Proof]:
    """Proofs of products with equal lanes."""
    proved: set[Lemma] = set()
    for product in group:
        yield prove_product(product, products=products, seed=seed, proved=proved)


def _prove_list(group: Sequence[Product], products: int, seed: int) -> list[Proof]:
    return list(_prove_group(group, products, seed))
