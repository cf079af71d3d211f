"""Claims: one holder at a time, heartbeats, and who may take over what."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nas.sweep_claim import Claims, Owner

HERE = Owner.this_process()
ELSEWHERE = dataclasses.replace(HERE, host="elsewhere", boot="another boot", node="node-1")


def claims(folder: Path, stale_seconds: float = 600.0, dead_nodes: tuple[str, ...] = ()) -> Claims:
    return Claims(folder, stale_seconds=stale_seconds, dead_nodes=dead_nodes)


def test_a_claim_keeps_others_out_until_it_is_given_up(tmp_path: Path) -> None:
    with claims(tmp_path).claimed(HERE) as claim:
        assert claim is not None and claim.holds()
        assert claims(tmp_path).holder() == HERE
        with claims(tmp_path).claimed(ELSEWHERE) as other:
            assert other is None
        assert claim.holds()
    assert claims(tmp_path).holder() is None
    with claims(tmp_path).claimed(ELSEWHERE) as claim:
        assert claim is not None and claims(tmp_path).holder() == ELSEWHERE
    assert sorted(os.listdir(tmp_path)) == ["claim.1", "claim.2"]


def test_of_many_who_want_a_stale_claim_one_gets_it(tmp_path: Path) -> None:
    for turn in range(20):
        barrier, leave = threading.Barrier(8), threading.Barrier(8)
        got: list[str] = []

        def want(barrier: threading.Barrier, leave: threading.Barrier, got: list[str]) -> None:
            owner = Owner.this_process()
            barrier.wait()
            with claims(tmp_path).claimed(owner) as claim:
                if claim is not None:
                    got.append(owner.token)
                leave.wait()

        threads = [threading.Thread(target=want, args=(barrier, leave, got)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 1, f"turn {turn}"


def test_a_heartbeat_keeps_a_claim_and_its_lack_loses_it(tmp_path: Path) -> None:
    with claims(tmp_path, stale_seconds=0.4).claimed(ELSEWHERE) as claim:
        assert claim is not None
        time.sleep(0.8)
        assert claims(tmp_path, stale_seconds=0.4).holder() == ELSEWHERE
        old = time.time() - 601
        claims_file = tmp_path / "claim.1"
        # A machine that is held up: its heartbeats go nowhere.
        claims_file.rename(tmp_path / "kept")
        claims_file.write_bytes((tmp_path / "kept").read_bytes())
        os.utime(claims_file, (old, old))
        with claims(tmp_path).claimed(HERE) as other:
            assert other is not None and other.holds()
            assert not claim.holds()
            time.sleep(0.1)
        assert not claim.holds()


def test_stale_is_by_the_time_without_heartbeat(tmp_path: Path) -> None:
    with claims(tmp_path).claimed(ELSEWHERE):
        for age, held in ((590, True), (610, False)):
            os.utime(tmp_path / "claim.1", (time.time() - age,) * 2)
            assert (claims(tmp_path).holder() is not None) is held


def test_a_process_of_this_machine_that_ended_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from nas.sweep_claim import Claims, Owner\n"
        "with Claims(Path(sys.argv[1]), stale_seconds=600).claimed(Owner.this_process()) as claim:\n"
        "    print(claim is not None, flush=True); sys.stdin.read(); os.kill(os.getpid(), 9)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdin is not None
    assert process.stdout.readline() == "True\n"
    holder = claims(tmp_path).holder()
    assert holder is not None and holder.pid == process.pid
    process.stdin.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert claims(tmp_path).holder() is None, "a zombie holds nothing"
    process.wait()
    process.stdout.close()
    assert claims(tmp_path).holder() is None


def test_a_number_that_another_process_has_now_is_not_taken_for_the_owner() -> None:
    assert not HERE.is_gone()
    assert dataclasses.replace(HERE, started="1").is_gone()
    assert not dataclasses.replace(HERE, started="1", boot="another").is_gone()
    assert not dataclasses.replace(HERE, started="1", boot="").is_gone()


def test_a_dead_ray_node_holds_nothing(tmp_path: Path) -> None:
    with claims(tmp_path).claimed(ELSEWHERE):
        assert claims(tmp_path, dead_nodes=("node-2",)).holder() == ELSEWHERE
        assert claims(tmp_path, dead_nodes=("node-1",)).holder() is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "1"}', b"\xff"])
def test_a_damaged_claim_is_held_by_nobody_known_until_it_is_stale(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "claim.1").write_bytes(content)
    holder = claims(tmp_path).holder()
    assert holder is not None and str(holder) == "process 0 of an unknown machine"
    os.utime(tmp_path / "claim.1", (0, 0))
    assert claims(tmp_path).holder() is None


def test_other_files_are_no_claims(tmp_path: Path) -> None:
    for name in ("claim.x", "claim.0", "claim.1.old", "claims.1", ".claim.abc.tmp"):
        (tmp_path / name).touch()
    assert claims(tmp_path).last_number() == 0
