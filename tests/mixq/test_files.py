from __future__ import annotations

import os
import resource
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from mixq.errors import UserError
from mixq.files import dump_yaml, load_yaml, read_bytes, read_json, read_text, write_atomic, write_json


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def message_of(call: Any, *arguments: Any, **keywords: Any) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments, **keywords)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_write_atomic_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, "é\n")
    assert path.read_bytes() == "é\n".encode()
    write_atomic(path, b"\0new")
    assert path.read_bytes() == b"\0new"
    assert os.listdir(tmp_path) == ["file"]
    usual = write(tmp_path / "usual", "")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


def test_write_atomic_keeps_the_old_file_when_the_disk_is_full(tmp_path: Path) -> None:
    path = write(tmp_path / "file", "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        message = message_of(write_atomic, path, b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert message == f"cannot write {path}: File too large"
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file"]


def test_write_atomic_without_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "none" / "file"
    assert message_of(write_atomic, path, "x") == f"cannot write {path}: No such file or directory"


def test_write_atomic_replaces_no_device(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    for target in (path, tmp_path):
        assert message_of(write_atomic, target, "x") == (
            f"cannot write {target}: it is no regular file; give the path of a file"
        )
    assert stat.S_ISFIFO(path.stat().st_mode) and os.listdir(tmp_path) == ["pipe"]


def test_reading_what_is_no_file(tmp_path: Path) -> None:
    assert message_of(read_bytes, tmp_path / "none") == f"{tmp_path}/none: no such file"
    assert message_of(read_bytes, tmp_path) == f"{tmp_path}: not a file"
    path = tmp_path / "bytes"
    path.write_bytes(b"ab\xff")
    assert message_of(read_text, path) == f"{path}: not UTF-8 text (byte 2)"
    assert message_of(read_bytes, path, max_bytes=2).startswith(f"{path}: larger than 2 bytes")
    assert read_bytes(path, max_bytes=3) == b"ab\xff"


def test_yaml_is_the_core_schema(tmp_path: Path) -> None:
    text = "a: on\nb: yes\nc: 1e3\nd: 010\ne: 0x1F\nf: true\ng: ~\nh: -2.5e-3\ni: 2026-01-02\nj: 1_000\nk: .inf\nl:\n"
    expected = {
        **{"a": "on", "b": "yes", "c": 1000.0, "d": 10, "e": 31, "f": True, "g": None, "h": -0.0025},
        **{"i": "2026-01-02", "j": "1_000", "k": float("inf"), "l": None},
    }
    loaded = load_yaml(write(tmp_path / "f.yaml", text))
    assert loaded == expected
    assert {key: type(value) for key, value in loaded.items()} == {k: type(v) for k, v in expected.items()}


def test_yaml_round_trip_keeps_values_types_and_order(tmp_path: Path) -> None:
    texts = ["1e3", "on", "true", "True", "~", "", "0x10", "null", "-", "a: b", "# c", "é", "1.5", "010", ".inf"]
    value: dict[str, Any] = {"z": texts, "a": [1, -2, 1.5, 1e-7, 1e22, True, False, None], "m": {"n": {}, "o": []}}
    loaded = load_yaml(write(tmp_path / "f.yaml", dump_yaml(value)))
    assert loaded == value and list(loaded) == ["z", "a", "m"]
    assert [type(item) for item in loaded["a"]] == [type(item) for item in value["a"]]


def test_yaml_dumper_writes_no_aliases_and_no_objects() -> None:
    shared = [1, 2]
    assert "&" not in dump_yaml({"a": shared, "b": shared})
    with pytest.raises(TypeError, match=r"^obj must hold plain values only, not "):
        dump_yaml({"a": object()})


@pytest.mark.parametrize(
    "text, end",
    [
        ("a: &x [1]\nb: *x\n", ", line 2: aliases are not allowed"),
        ("a: 1\nb: 2\na: 3\n", ", line 3: key 'a' stands twice"),
        ("a:\n  b: 1\n  b: 1\n", ", line 3: key 'b' stands twice"),
        ("? [1, 2]\n: 3\n", ", line 1: a key must be a plain value"),
        ("a: !!python/object/apply:os.system [x]\n", "python/object/apply:os.system'"),
        ("a: [1\n", ", line 2: expected ',' or ']', but got '<stream end>'"),
        ("--- 1\n--- 2\n", ", line 2: but found another document"),
        ("[" * 60 + "]" * 60, ", line 1: nested deeper than 40 levels"),
        ("[" * 100_000, ", line 1: nested deeper than 40 levels"),
        ("a: " + "9" * 5000 + "\n", ", line 1: integer too long"),
        ("a: \x07\n", "position 3"),
    ],
)
def test_yaml_refusals(tmp_path: Path, text: str, end: str) -> None:
    path = write(tmp_path / "f.yaml", text)
    message = message_of(load_yaml, path)
    assert message.startswith(str(path)) and message.endswith(end)


def test_yaml_alias_bomb_and_size(tmp_path: Path) -> None:
    bomb = "a: &a [x,x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)},*{chr(97 + n)}]\n" for n in range(20)
    )
    assert message_of(load_yaml, write(tmp_path / "bomb.yaml", bomb)).endswith("line 2: aliases are not allowed")
    big = write(tmp_path / "big.yaml", "#" * 2000)
    assert "larger than 1000 bytes" in message_of(load_yaml, big, max_bytes=1000)


def test_json_round_trip_and_form(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    write_json(path, {"b": [1, 2.5, None, True], "a": "é"})
    assert path.read_text(encoding="utf-8").startswith('{\n  "b": [\n    1,') and path.read_bytes().endswith(b"}\n")
    assert read_json(path) == {"b": [1, 2.5, None, True], "a": "é"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, float("nan"))
    assert read_json(path)["a"] == "é"


@pytest.mark.parametrize(
    "text, end",
    [
        ("{", ", line 1: not valid JSON: Expecting property name enclosed in double quotes"),
        ('{"a": 1,\n "a": 2}', ": not valid JSON: key 'a' stands twice"),
        ("[NaN]", ": not valid JSON: NaN is not a JSON number"),
        ("[-Infinity]", ": not valid JSON: -Infinity is not a JSON number"),
    ],
)
def test_json_refusals(tmp_path: Path, text: str, end: str) -> None:
    path = write(tmp_path / "f.json", text)
    assert message_of(read_json, path) == f"{path}{end}"


def test_json_depth(tmp_path: Path) -> None:
    assert "not valid JSON" in message_of(read_json, write(tmp_path / "f.json", "[" * 100_000))


def test_what_is_no_text_is_escaped(tmp_path: Path) -> None:
    write_atomic(tmp_path / "page", "a\udcffb")
    assert (tmp_path / "page").read_bytes() == b"a\\udcffb"
    write_json(tmp_path / "json", ["\udcff"])
    assert read_json(tmp_path / "json") == ["\udcff"]
