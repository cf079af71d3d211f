"""Any text is one word again for the program that reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from boards.quoting import comment, tcl_word, yosys_word

HOSTILE = [
    "",
    " ",
    "plain",
    "a b",
    "}",
    "{",
    "a{b}c\\",
    "[exit 3]",
    "$argv0",
    "x; exit 4",
    '"',
    "'",
    "#",
    "a\nb",
    "a\\\nb",
    "tab\there",
    "\\u0041",
    "\x01\x7f",
    "größe €",
    "-flag",
]


def test_tcl_reads_every_word_back_alone_in_a_list_and_within_braces(tmp_path: Path) -> None:
    words = " ".join(tcl_word(text) for text in HOSTILE)
    script = tmp_path / "script.tcl"
    script.write_text(
        f"set found [list {words}]\nif {{1}} {{ set inside [list {words}] }}\n"
        f"foreach each {{{words}}} {{ lappend loop $each }}\n"
        "foreach name {found inside loop} { foreach text [set $name] "
        "{ puts x[binary encode hex [encoding convertto utf-8 $text]] } }\n",
        encoding="ascii",
    )
    done = subprocess.run(["tclsh", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    read = [bytes.fromhex(line[1:]).decode() for line in done.stdout.splitlines()]
    assert read == 3 * HOSTILE


@pytest.mark.parametrize("text", ["\0", "\U0001f600", "\ud800"])
def test_what_tcl_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"text must be of characters U\+0001 to U\+FFFF"):
        tcl_word(text)


def test_words_of_yosys_have_no_quotation_marks() -> None:
    assert yosys_word("a b;c#") == '"a b;c#"'
    for text in ('"', "a\nb"):
        with pytest.raises(ValueError, match="without quotation marks"):
            yosys_word(text)


@pytest.mark.parametrize("text", [*HOSTILE, "\r", "\x85", "\u2028"])
def test_a_comment_stays_in_its_line(text: str) -> None:
    found = comment(text)
    assert found.isascii() and (found.isprintable() or not found) and not found.endswith("\\")
