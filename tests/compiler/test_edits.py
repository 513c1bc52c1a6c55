"""Edits of specs, mixed: all of them make B of A, each stands in its line, and what one leaves out is as in A."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decreta.blame.edits import Edit, Files, edits, mixed
from decreta.diagnostics import Report
from decreta.read.toml import read_toml
from decreta.read.yaml import read_yaml
from decreta.source import SourceText

OBJECT = """\
object: event
summary: What happened.
columns:
  event_id: {type: int64}
  kind: {type: string}
  amount: {type: int64}
body: |
  SELECT a
  FROM b
  WHERE c = 1
  ORDER BY a
key: [event_id]
"""
RULES = """\
[[threshold]]
id = "scan.min_readers"
value = 1

[[threshold]]
id = "cache.min_consumers"
value = 2
"""


def of(old: str, new: str, name: str = "specs/p/objects/event.yaml") -> list[Edit]:
    return edits({name: old.encode()}, {name: new.encode()})


def mix(old: str, new: str, *taken: int, name: str = "specs/p/objects/event.yaml") -> Any:
    a, b = {name: old.encode()}, {name: new.encode()}
    return data(name, mixed(a, b, edits(a, b), frozenset(taken))[name].decode())


def data(name: str, text: str) -> Any:
    found = (read_toml if name.endswith(".toml") else read_yaml)(SourceText(name, text), Report())
    assert found is not None
    return found.data


def test_the_order_of_columns_is_an_edit_and_can_be_left_out() -> None:
    swapped = OBJECT.replace(
        "  kind: {type: string}\n  amount: {type: int64}\n", "  amount: {type: int64}\n  kind: {type: string}\n"
    )
    new = swapped.replace("What happened.", "What has happened.")
    found = of(OBJECT, new)
    assert [edit.key for edit in found] == ["summary", "columns (order)"]
    assert found[1].place.line == 5 and found[1].after == ["event_id", "amount", "kind"]
    assert list(mix(OBJECT, new, 0)["columns"]) == ["event_id", "kind", "amount"]
    assert list(mix(OBJECT, new, 1)["columns"]) == ["event_id", "amount", "kind"]
    assert mix(OBJECT, new, 1)["summary"] == "What happened."


def test_a_column_that_comes_between_others_stands_between_them_alone_too() -> None:
    new = OBJECT.replace("  kind:", "  day: {type: date}\n  kind:").replace("What happened.", "What has happened.")
    assert [edit.key for edit in of(OBJECT, new)] == ["summary", "columns.day"]
    assert list(mix(OBJECT, new, 1)["columns"]) == ["event_id", "day", "kind", "amount"]


def test_lines_of_a_text_are_edits_each_in_its_line() -> None:
    new = OBJECT.replace("SELECT a\n", "SELECT a, d\n").replace("c = 1", "c = 2")
    first, second = of(OBJECT, new)
    assert (first.place.line, first.after) == (8, "SELECT a, d") and (second.place.line, second.after) == (
        10,
        "WHERE c = 2",
    )
    assert {first.key, second.key} == {"body"}
    assert mix(OBJECT, new, 1)["body"] == "SELECT a\nFROM b\nWHERE c = 2\nORDER BY a\n"
    assert mix(OBJECT, new, 0)["body"] == "SELECT a, d\nFROM b\nWHERE c = 1\nORDER BY a\n"


def test_lines_of_a_file_that_is_text() -> None:
    old, new = "-- one\na\nb\nc\n", "-- two\na\nB\nc\nd\n"
    name = "specs/p/x.sql"
    found = of(old, new, name)
    assert [(edit.place.line, edit.before, edit.after) for edit in found] == [
        (1, "-- one", "-- two"),
        (3, "b", "B"),
        (5, None, "d"),
    ]
    a, b = {name: old.encode()}, {name: new.encode()}
    assert mixed(a, b, found, frozenset({1}))[name] == b"-- one\na\nB\nc\n"
    assert mixed(a, b, found, frozenset({0, 2}))[name] == b"-- two\na\nb\nc\nd\n"
    assert of(old, old.replace("\n", "\r\n"), name) == []


def test_a_section_that_comes_is_a_list_where_b_has_one() -> None:
    name = "specs/std/rules/scan.toml"
    old, new = "other = 1\n", "other = 2\n" + RULES
    assert [edit.key for edit in of(old, new, name)] == [
        "other",
        "threshold.scan.min_readers",
        "threshold.cache.min_consumers",
    ]
    assert mix(old, new, 2, name=name) == {"other": 1, "threshold": [{"id": "cache.min_consumers", "value": 2}]}


def test_the_order_of_rules_is_an_edit() -> None:
    first, second = RULES.split("\n\n")
    name = "specs/std/rules/scan.toml"
    assert [edit.key for edit in of(RULES, f"{second.strip()}\n\n{first}\n", name)] == ["threshold (order)"]


texts = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=6).map("\n".join)
columns = st.lists(st.sampled_from("abcdef"), unique=True, min_size=1).flatmap(
    lambda names: st.fixed_dictionaries({name: st.sampled_from(["{type: int64}", "{type: date}"]) for name in names})
)


@given(st.tuples(columns, texts), st.tuples(columns, texts))
@settings(max_examples=200, deadline=None)
def test_all_edits_but_for_a_summary_make_b(a: tuple[dict[str, str], str], b: tuple[dict[str, str], str]) -> None:
    """With one edit left out the others are applied to A's tree: what comes out is B but for that one."""
    name, old, new = "specs/p/objects/x.yaml", written(*a, "one"), written(*b, "two")
    found = of(old, new, name)
    assert found[0].key == "summary"
    got = mix(old, new, *range(1, len(found)), name=name)
    wanted = data(name, new) | {"summary": "one"}
    assert got == wanted and list(got["columns"]) == list(wanted["columns"])


def written(names: dict[str, str], text: str, summary: str) -> str:
    shown = "".join(f"  {name}: {kind}\n" for name, kind in names.items())
    body = "".join(f"  {line}\n" for line in text.split("\n"))
    return f"summary: {summary}\ncolumns:\n{shown}body: |\n  x\n{body}  y\n"


@pytest.mark.parametrize("gone", [True, False])
def test_a_file_that_comes_or_goes_is_one_edit(gone: bool) -> None:
    there: Files = {"specs/p/x.yaml": b"a: 1\n"}
    a, b = (there, {}) if gone else ({}, there)
    (edit,) = edits(a, b)
    assert edit.key == "" and mixed(a, b, [edit], frozenset({0})) == b
