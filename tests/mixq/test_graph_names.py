from __future__ import annotations

import re
import string

import pytest

from mixq.graph import GraphError, is_legal_name, legal_name
from mixq.graph.names import RESERVED, check_name

HOSTILE = [
    *("", "_", "9", "a b", "../../etc/passwd", "a/b", "a\\b", 'a"b', "a'b", "a[exec rm]", "${x}", "a\nb", "a\0b", "é"),
    *("module", "Module", "ALWAYS", "signal", "entity", "logic", "reg", "con", "a" * 64, "a." * 80, "conv-1", "名前"),
]


@pytest.mark.parametrize("name", ["conv0", "A", "a_B_9", "a" * 63, "input", "output", "features_0_conv"])
def test_legal_names_pass_unchanged(name: str) -> None:
    assert is_legal_name(name) and legal_name(name) == name and check_name("name", name) == name


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_or_made_legal(name: str) -> None:
    assert not is_legal_name(name)
    with pytest.raises(GraphError, match=r"^name must .*, not ['\"].*['\"]$"):
        check_name("name", name)
    made = legal_name(name)
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,62}", made) and made.lower() not in RESERVED


def test_a_final_newline_is_not_legal() -> None:
    assert not is_legal_name("conv0\n")


def test_made_names_are_unique_whatever_the_case() -> None:
    taken: list[str] = []
    for text in [*HOSTILE, *HOSTILE, "Conv", "conv", "CONV", "a" * 63, "A" * 63, "a" * 63]:
        taken.append(legal_name(text, taken))
    assert len({name.lower() for name in taken}) == len(taken)
    assert all(is_legal_name(name) for name in taken)


def test_every_reserved_word_is_lower_case_and_would_be_a_name() -> None:
    letters = set(string.ascii_lowercase + string.digits + "_")
    assert all(set(word) <= letters and word[0] in string.ascii_lowercase for word in RESERVED)
    for word in RESERVED:
        assert is_legal_name(legal_name(word)) and legal_name(word) != word


def test_messages() -> None:
    with pytest.raises(TypeError, match=r"^name must be a str, not 3$"):
        check_name("name", 3)
    with pytest.raises(GraphError, match=r"^name must not be a word that Verilog, .* reserves, not 'wire'$"):
        check_name("name", "wire")
