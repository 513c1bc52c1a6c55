"""What views and query shapes call is required by the policy, and asked of pack and engine before data is touched."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from tests.conftest import Command, compiled, digest, edit_policy, reseal
from tests.runtime.test_language import graph  # noqa: F401

import decreta_runtime
from decreta_runtime.contract.errors import IncompatibleEngine, PolicyIncomplete

SECTION = "udf_requirements_by_view"


def policy_of(pack: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((pack / "policy/local.json").read_bytes())
    return found


def lake_of(pack: Path) -> Path:
    return pack.parents[1] / "lake"


def run(pack: Path) -> None:
    with decreta_runtime.open(str(pack)) as opened:
        opened.run()


def test_views_and_shapes_that_call_something_have_an_entry(graph: Path) -> None:  # noqa: F811
    manifest, required = json.loads((graph / "manifest.json").read_bytes()), policy_of(graph)[SECTION]
    entries = {**manifest["relations"], **manifest["queries"]}
    assert {n: sorted(r) for n, r in required.items()} == {
        n: e["functions"] for n, e in entries.items() if e["functions"]
    }
    module = manifest["files"]["code/walks.py"]
    own = {"origin": "pack", "volatility": "immutable", "digest": module}
    assert required["labelled"]["shout"] == {**own, "arguments": ["string"], "returns": "string"}
    assert required["depth"]["depths"] == own


def test_each_missing_entry_is_refused_by_its_pointer(graph: Path) -> None:  # noqa: F811
    whole = policy_of(graph)
    tried = 0
    for view, functions in whole[SECTION].items():
        for path in ((view,), *((view, name) for name in functions)):
            policy = copy.deepcopy(whole)
            holder = policy[SECTION]
            for part in path[:-1]:
                holder = holder[part]
            del holder[path[-1]]
            (graph / "policy/local.json").write_text(json.dumps(policy))
            reseal(graph)
            with pytest.raises(PolicyIncomplete) as refused:
                run(graph)
            assert refused.value.pointer == "/" + "/".join((SECTION, *path))
            assert refused.value.exit_status == 4
            assert not lake_of(graph).exists(), "no data is touched"
            tried += 1
    assert tried > 8


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "another digest": (lambda r: r["labelled"]["shout"].update(digest=digest(b"")), "labelled/shout/digest"),
    "another table function": (lambda r: r["depth"]["depths"].update(digest=digest(b"")), "depth/depths/digest"),
    "another argument": (lambda r: r["labelled"]["shout"].update(arguments=["int64"]), "labelled/shout"),
    "another result": (lambda r: r["labelled"]["shout"].update(returns="int64"), "labelled/shout"),
    "another volatility": (lambda r: r["labelled"]["shout"].update(volatility="volatile"), "labelled/shout"),
    "one too many": (lambda r: r["labelled"].update(whisper=r["labelled"]["shout"]), "labelled/whisper"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_pack_function_is_the_one_that_the_policy_names(graph: Path, change: str) -> None:  # noqa: F811
    act, place = CHANGES[change]
    edit_policy(graph, lambda p: act(p[SECTION]))
    with pytest.raises(PolicyIncomplete) as refused:
        run(graph)
    assert refused.value.pointer == f"/{SECTION}/{place}"
    assert not lake_of(graph).exists()


def call_what_is_not_there(pack: Path, subject: str, section: str) -> None:
    """Make a compiled pack as if its compiler had known a function that the installed engine does not have."""
    manifest = json.loads((pack / "manifest.json").read_bytes())
    manifest[section][subject]["functions"] = sorted({*manifest[section][subject]["functions"], "frobnicate"})
    (pack / "manifest.json").write_text(json.dumps(manifest))
    wanted = {"origin": "engine", "arguments": None, "returns": None, "volatility": "immutable", "digest": None}
    edit_policy(pack, lambda p: p[SECTION].setdefault(subject, {}).update(frobnicate=wanted))


def test_a_function_that_the_engine_does_not_have_refuses_the_run(
    shop_pack: Path, shop: Path, decreta: Command
) -> None:
    call_what_is_not_there(shop_pack, "revenue", "relations")
    with pytest.raises(IncompatibleEngine, match="frobnicate") as refused:
        run(shop_pack)
    assert f"/{SECTION}/revenue" in refused.value.message
    assert not list(lake_of(shop_pack).glob("shop/*")), "nothing was written"
    done = decreta("run", "shop", cwd=shop)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "frobnicate" in done.stderr


def test_a_function_that_the_engine_does_not_have_refuses_a_query(shop: Path) -> None:
    pack = compiled(shop, "shop")
    run(pack)
    call_what_is_not_there(pack, "revenue_of", "queries")
    with decreta_runtime.open(str(pack)) as opened, pytest.raises(IncompatibleEngine, match="`revenue_of` calls"):
        opened.query("revenue_of", customer=1)


def test_the_session_was_asked_once_and_says_by_which_entry(shop_pack: Path) -> None:
    with decreta_runtime.open(str(shop_pack)) as pack:
        pack.run()
        for _ in range(3):
            pack.query("revenue_of", customer=1)
    ledger = DeltaTable(str(lake_of(shop_pack) / "_decreta/ledger"))
    rows = [r for r in pa.table(ledger.scan().read_all()).to_pylist() if r["action"] == "functions"]
    assert sorted(r["subject"] for r in rows) == ["batch_ingest", "interactive_query"]
    assert {r["pointer"] for r in rows} == {f"/{SECTION}"}
    assert {json.loads(r["detail"])["views"] for r in rows} == {len(policy_of(shop_pack)[SECTION])}
