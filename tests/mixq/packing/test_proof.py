"""Proofs of packings: how each is proved, that all are, and that wrong ones are not."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest

from mixq.errors import UserError
from mixq.packing import Packing, Part, Product, arithmetic, candidates, proof, solve
from mixq.packing.proof import Proof, Summary, product_kind, products_of, proof_kind, prove, prove_product
from tests.mixq.packing.cases import Array, changed, every_packing, every_product, small


def few() -> Product:
    """Two 1-bit activations by a weight of -1, 0 or 1 for each of two channels, one product deep."""
    return small(act_bits=1, taps=1, channels=2, stride=4, channel_stride=2, weights=(-1, 1))


def nine() -> Packing:
    return Packing(4, 4, 3, (Part(small()),), weight_range="narrow")


# -- kinds -----------------------------------------------------------------------------------------


def test_small_operand_spaces_are_tried_whole_others_are_left_to_smt() -> None:
    kinds = set()
    for product in every_product():
        values = (1 << product.act_bits) ** product.pixels
        values *= (product.weight_high - product.weight_low + 1) ** (product.channels * product.taps)
        # More than 24 products have more than 2^24 members, whatever the operands.
        small_enough = product.accumulate_max <= 24 and values**product.accumulate_max <= 1 << 24
        assert product_kind(product) == ("exhaustive" if small_enough else "smt")
        kinds.add((product_kind(product), product.tracked, product.pair))
    assert kinds == {
        ("exhaustive", False, False),
        ("exhaustive", False, True),
        ("smt", False, False),
        ("smt", False, True),
        ("smt", True, False),
    }


def test_a_packing_is_proved_exhaustively_where_all_its_products_are() -> None:
    assert proof_kind(nine()) == "smt"
    seen = set()
    for packing in every_packing():
        kinds = {product_kind(product) for product in products_of(packing)}
        assert proof_kind(packing) == ("exhaustive" if kinds == {"exhaustive"} else "smt")
        seen.add((packing.split, len(kinds), proof_kind(packing)))
    assert {(False, 1, "exhaustive"), (True, 2, "smt"), (False, 1, "smt")} <= seen


def test_shares_of_fewer_taps_are_products_of_their_own() -> None:
    packing = next(p for p in every_packing() if p.split and len(products_of(p)) > 2)
    assert {part.product for part in packing.parts} < set(products_of(packing))


# -- proofs ----------------------------------------------------------------------------------------


def test_exhaustive_proofs_try_every_member() -> None:
    assert prove_product(few()) == Proof(few(), "exhaustive", 36)
    deeper = replace(few(), pixel_stride=6, tap_stride=6, channel_stride=3)
    assert prove_product(deeper) == Proof(deeper, "exhaustive", 36 + 36**2 + 36**3)


@pytest.mark.parametrize("residue_bits", [0, 1, 2])
@pytest.mark.parametrize("widths", [(1, 2), (4, 4), (8, 8), (8, 2), (5, 7)])
def test_packings_are_proved(widths: tuple[int, int], residue_bits: int) -> None:
    for kernel in (1, 3):
        summary = prove(candidates(*widths, kernel, residue_bits)[:6], products=5000)
        assert summary.failed == () and summary.failures == ()
        assert all(p.cases >= 5000 for p in summary.proofs if p.kind == "smt")


@pytest.mark.parametrize("tracked", [False, True])
def test_a_proof_by_smt_counts_random_products(tracked: bool) -> None:
    product = small(pixels=4, stride=7, act_on_wide=True, residue_bits=2, tracked=tracked)
    found = prove_product(product, products=100_000, seed=5)
    assert (found.product, found.kind, found.failed) == (product, "smt", None)
    assert 100_000 <= found.cases < 100_200


@pytest.mark.slow
def test_every_packing_is_proved() -> None:
    summary = prove(every_packing(), products=1000)
    assert summary.failed == ()
    assert summary.exhaustive + summary.smt == len(every_packing()) > 4000
    assert {found.product for found in summary.proofs} == set(every_product())


def test_each_product_is_proved_once() -> None:
    alike = [nine(), replace(nine(), act_signed=True), replace(nine(), kernel=5), nine()]
    seen: list[tuple[int, int]] = []
    summary = prove(alike, products=1000, progress=lambda done, total: seen.append((done, total)))
    assert [found.product for found in summary.proofs] == [small()]
    assert (summary.exhaustive, summary.smt, summary.failed) == (0, 3, ())
    assert seen == [(1, 1)] and summary.cases == summary.proofs[0].cases


def test_processes_find_the_same() -> None:
    packings = [*candidates(4, 4, 3)[:2], *candidates(1, 2, 1)[:2], *candidates(3, 3, 3, 1)[:2]]
    seen: list[int] = []
    together = prove(packings, products=1000, processes=2, progress=lambda done, total: seen.append(done))
    assert together == prove(packings, products=1000)
    assert seen == list(range(1, len(together.proofs) + 1))


def test_nothing_to_prove() -> None:
    assert prove([]) == Summary((), 0, 0, ())


# -- what is not exact -----------------------------------------------------------------------------


def without_third_residue(self: Product, low: int, high: int) -> tuple[int, ...] | None:
    """The third lane is read as if nothing could spill into it."""
    known = Product.residues(self, low, high)
    return None if known is None else (*known[:2], 0, *known[3:])


def test_too_few_residues_are_found_by_smt() -> None:
    product = small(pixels=4, stride=7, act_on_wide=True, residue_bits=2)
    found = prove_product(changed(product, residues=without_third_residue), products=1000)
    assert found.failed is not None and found.failed.startswith(
        "with (0, 1, 0, 2, 2, 2) known bits and sums of up to 169 "
    )
    assert found.cases == 0  # nothing more is tried of what is known to be wrong


def test_too_few_residues_are_found_by_trying() -> None:
    product = next(
        p
        for p in every_product()
        if product_kind(p) == "exhaustive"
        and p.residues(*p.sum_bounds(1)) != without_third_residue(p, *p.sum_bounds(1))
    )
    found = prove_product(changed(product, residues=without_third_residue))
    assert found.kind == "exhaustive" and found.failed is not None and found.failed.startswith("lane (")


def test_a_wrong_model_is_found_by_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    def unlifted(product: Product, words: Any, residues: Any, known: tuple[int, ...]) -> list[Any]:
        return [right + (i == 1) for i, right in enumerate(original(product, words, residues, known))]

    original = arithmetic.lane_values
    monkeypatch.setattr(arithmetic, "lane_values", unlifted)
    for product in (few(), small()):
        failed = prove_product(product, products=1000).failed
        second = product.lanes[1]
        assert failed is not None and failed.startswith(f"lane ({second.channel}, {second.position}) reads ")


def test_wrong_operands_are_found_by_trying(monkeypatch: pytest.MonkeyPatch) -> None:
    original = arithmetic.operands

    def once_wrong(product: Product, activations: Array, weights: Array) -> Any:
        found = original(product, activations, weights)
        return [(a, b + ((activations == -8).all(-1) & (weights == -7).all((-1, -2)))) for a, b in found]

    monkeypatch.setattr(arithmetic, "operands", once_wrong)
    assert prove_product(small(), products=50_000).failed is not None


def test_a_limit_that_is_not_tight_is_a_failure() -> None:
    found = prove_product(changed(small(), accumulate_max=8), products=1000)
    assert found.failed == "9 products are allowed, more than accumulate_max"


def test_packings_with_a_product_that_failed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "control_fault", lambda product: "no" if product == small() else None)
    packings = [nine(), replace(nine(), kernel=7), *candidates(1, 2, 1)[:1]]
    summary = prove(packings, products=1000)
    assert summary.failed == tuple(packings[:2])
    assert [found.product for found in summary.failures] == [small()] and len(summary.proofs) == 2


def test_a_missing_solver_is_told_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "z3", None)
    monkeypatch.setattr(proof, "prove_product", lambda *arguments: pytest.fail("worked"))
    with pytest.raises(UserError, match=r"^proofs need Z3; install it with: python -m pip install 'mixq\[prove\]'$"):
        prove([nine()])


def test_exhaustive_proofs_need_no_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "z3", None)
    packing = next(
        p for p in every_packing() if not p.split and p.product.accumulate_max == 1 and proof_kind(p) == "exhaustive"
    )
    assert prove([packing]).failed == ()


def test_the_kind_needs_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "try_all", lambda product: pytest.fail("worked"))
    assert proof_kind(solve(1, 1)) == "exhaustive"
