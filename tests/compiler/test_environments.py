"""Two environments in one project: builders once, a policy each, and nothing of one in the other."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import compiled, run_command


def files(pack: Path) -> dict[str, bytes]:
    return {p.relative_to(pack).as_posix(): p.read_bytes() for p in pack.rglob("*") if p.is_file()}


def test_one_environment_changes_its_policy_alone(project: Path) -> None:
    before = files(compiled(project, "code_graph"))
    assert {"policy/local.json", "policy/prod.json"} <= set(before)
    path = project / "specs/code_graph/env/prod.toml"
    path.write_text(
        path.read_text().replace("cores = 8", "cores = 6").replace('min_consumers" = 4', 'min_consumers" = 8')
    )
    after = files(compiled(project, "code_graph"))
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"policy/prod.json", "manifest.json", "manifest.sha256"}
    lines = [
        (a, b)
        for a, b in zip(before["manifest.json"].splitlines(), after["manifest.json"].splitlines(), strict=True)
        if a != b
    ]
    assert len(lines) == 1, "the digest of one policy"


def test_each_policy_has_its_own_budgets_thresholds_and_places(project: Path) -> None:
    pack = compiled(project, "code_graph")
    local, prod = (json.loads((pack / f"policy/{env}.json").read_bytes()) for env in ("local", "prod"))
    assert (local["environment"], prod["environment"]) == ("local", "prod")
    assert (local["bindings"]["lake"], prod["bindings"]["lake"]) == (".decreta/lake", "/var/lib/decreta/lake")
    name = next(n for n, d in local["cache_policy_by_view"].items() if d["rule"].startswith("cache.shared"))
    assert local["cache_policy_by_view"][name]["value"]["placement"] == "memory"
    assert prod["cache_policy_by_view"][name]["value"]["placement"] == "spill", "four readers are wanted there"
    settings = [p["session_profile_by_workload"]["interactive_query"]["value"]["settings"] for p in (local, prod)]
    assert settings[0]["datafusion.runtime.memory_limit"]["value"] == "1G"
    assert settings[1]["datafusion.runtime.memory_limit"]["value"] == "8G"


def test_a_run_obeys_the_environment_it_is_given(project: Path, source: Path, tmp_path: Path) -> None:
    compiled(project, "code_graph")
    placed = {}
    for env in ("local", "prod"):
        given = ["--env", env, "--lake", str(tmp_path / env), "--source", f"python={source}"]
        done = run_command("run", "code_graph", *given, cwd=project)
        assert done.returncode == 0, done.stderr
        placed[env] = [line.rpartition(" in ")[2] for line in done.stderr.splitlines() if line.startswith("keep")]
    assert "memory" in placed["local"]
    assert placed["local"].count("spill") < placed["prod"].count("spill")
    missing = run_command("run", "code_graph", "--env", "staging", cwd=project)
    assert missing.returncode == 2
    assert "`local`, `prod`" in missing.stderr
