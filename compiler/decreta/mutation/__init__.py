"""Ask whether a pack's generated tests would notice a wrong spec: change it a little, regenerate, and run them.

A mutant is killed by the compiler, by a relation's contract, laws, checks or examples, all regenerated from the changed
spec; rows are never compared with those of the unchanged statement. What survives is then compared, to tell mutants
that are equal (no small database tells them apart) from those that a test is missing for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from decreta.bind import bind
from decreta.check import check
from decreta.diagnostics import Report
from decreta.emit import digest, emit
from decreta.emit.examples import examples
from decreta.emit.pools import pools
from decreta.model.program import Application, Checked, Decided, Relation, Resolved
from decreta.mutation.operators import mutants
from decreta.project import Project
from decreta.read import read_pack
from decreta.resolve import resolve
from decreta.source import Embedded, Span
from decreta.sql import parse_query, print_query
from decreta.toolchain import toolchain
from decreta_runtime.contract.manifest import Manifest
from decreta_runtime.load import LoadedPack, decode, serve
from decreta_runtime.testing import RelationTest
from decreta_runtime.testing.rows import Row, multiset

SEARCH = 150
"""Small databases that are tried before a surviving mutant is called equal to the original."""
_PROCESSES = 2
"""The cores of the smallest machine that decreta is run on in CI."""
_MEMORY = "64M"
"""What a session of a mutant may use: far more than its tables, and 10 MB for each sort of each partition at once."""
_LAWS = 12
"""Databases on which laws are tried for each mutant; the generated tests try more."""


@dataclass(frozen=True)
class Mutant:
    """One changed spec: where, in words what, the relations it bears on, and the pack so changed."""

    place: Span
    words: str
    relations: tuple[str, ...]
    resolved: Resolved | None
    """None once it is judged."""
    key: tuple[str, ...] = ()
    """The key that the mutant claims, if that is what it changes."""


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant; a survivor comes with rows that tell it apart, and the right answer to them."""

    mutant: Mutant
    outcome: str
    """`killed`, `equal` or `survived`."""
    by: str
    relation: str = ""
    given: Mapping[str, list[Row]] | None = None
    expect: list[Row] | None = None


def list_mutants(resolved: Resolved) -> list[Mutant]:
    """Return the mutants of all statements, keys and arguments that a pack's relations use, by place."""
    used: dict[tuple[str, str], list[Relation]] = {}
    found: list[Mutant] = []
    for relation in resolved.relations.values():
        if relation.application is not None:
            application = relation.application
            used.setdefault((application.template.name, application.branch), []).append(relation)
            found += _of_arguments(resolved, relation, application)
        elif relation.body is not None:
            for text, words, place in _of_text(relation.body):
                changed = _with(resolved, replace(relation, body=text))
                found.append(Mutant(place, words, (relation.name,), changed))
        found += _of_key(resolved, relation)
    for (_, branch), relations in used.items():
        found += _of_template(resolved, branch, relations)
    return sorted(found, key=lambda m: (m.place, m.words))


def _of_text(body: Embedded) -> Iterator[tuple[Embedded, str, Span]]:
    statement = parse_query(body, body.whole(), Report())
    if statement is None:
        return
    for node, words, tree in mutants(statement.tree):
        text = print_query(tree)
        mutated = Embedded(body.source, text, body.offsets[:1] * (text.count("\n") + 1))
        yield mutated, words, statement.span(node)


def _of_template(resolved: Resolved, branch: str, relations: list[Relation]) -> Iterator[Mutant]:
    application = relations[0].application
    assert application is not None
    for text, words, place in _of_text(application.template.bodies[branch]):
        template = replace(application.template, bodies={**application.template.bodies, branch: text})
        changed = resolved
        for relation in relations:
            assert relation.application is not None
            changed = _with(changed, replace(relation, application=replace(relation.application, template=template)))
        yield Mutant(place, words, tuple(r.name for r in relations), changed)


def _of_arguments(resolved: Resolved, relation: Relation, application: Application) -> Iterator[Mutant]:
    given, template = application.arguments, application.template
    place = relation.written.place("with")
    for name, value in given.scalars.items():
        if isinstance(value, int) and not isinstance(value, bool):
            other = replace(given, scalars={**given.scalars, name: value + 1})
            yield _applied(resolved, relation, replace(application, arguments=other), f"`{name}` is {value + 1}", place)
    for name, pick in given.choices.items():
        parameter = template.written.spec.parameters[name]
        for other_pick in getattr(parameter, "one_of", ()):
            if other_pick != pick:
                branch = other_pick if template.branch == name else application.branch
                choices = replace(given, choices={**given.choices, name: other_pick})
                changed = replace(application, arguments=choices, branch=branch)
                yield _applied(resolved, relation, changed, f"`{name}` is `{other_pick}`", place)


def _applied(resolved: Resolved, relation: Relation, changed: Application, words: str, place: Span) -> Mutant:
    return Mutant(place, words, (relation.name,), _with(resolved, replace(relation, application=changed)))


def _of_key(resolved: Resolved, relation: Relation) -> Iterator[Mutant]:
    key = relation.written.spec.key or []
    for i, name in enumerate(key if len(key) > 1 else []):
        claimed = [k for k in key if k != name]
        spec = relation.written.spec.model_copy(update={"key": claimed})
        changed = _with(resolved, replace(relation, written=replace(relation.written, spec=spec)))
        words = f"`{name}` is no part of the key"
        yield Mutant(relation.written.place("key", i), words, (relation.name,), changed, tuple(claimed))


def _with(resolved: Resolved, relation: Relation) -> Resolved:
    return replace(resolved, relations={**resolved.relations, relation.name: relation})


class Tests:
    """The generated tests of one compiled pack, run in this process."""

    def __init__(self, folder: Path, policy: tuple[str, bytes]) -> None:
        self.folder, self.policy = folder, policy

    def of(self, checked: Checked) -> dict[str, RelationTest]:
        """Return the test of each relation of a program, over its own generated code."""
        files = emit(Decided(checked), toolchain())
        manifest: Manifest = decode(files.pop("manifest.json"), self.folder)
        name = digest(b"".join(files.values())).removeprefix("sha256:")[:16]
        loaded = LoadedPack(
            self.folder, manifest, name, {**files, self.policy[0]: self.policy[1]}, f"decreta_mutant_{name}"
        )
        serve(loaded.package, loaded.modules())
        file = str(self.folder / "tests" / "test.py")
        return {n: RelationTest(file, n, pools(r.bound), loaded) for n, r in checked.relations.items()}

    def fails(self, checked: Checked, test: RelationTest) -> str:
        """Return what fails of a relation's tests, in a word; empty if they all pass."""
        relation = checked.relations[test.name]
        steps: list[tuple[str, Any]] = [("contract", test.contract)]
        steps += [
            (f"example: {e.name}", lambda e=e: test.example(given=e.given, expect=e.expect)) for e in examples(relation)
        ]
        if relation.bound.relation.call is None:
            steps.append(("laws", lambda: test.laws(_LAWS)))
        for words, step in steps:
            try:
                step()
            except Exception:  # noqa: BLE001 - a test that fails in any way has noticed
                return words
        return ""


class Mutation:
    """Judges the mutants of one pack."""

    def __init__(self, resolved: Resolved, tests: Tests) -> None:
        self.resolved, self.tests = resolved, tests
        self._whole: dict[tuple[str, ...], tuple[Checked, dict[str, RelationTest]]] = {}

    def judge(self, mutant: Mutant) -> Verdict:
        """Say what becomes of a mutant."""
        report = Report()
        assert mutant.resolved is not None
        checked = _compiled(mutant.resolved, mutant.relations, report)
        if checked is None:
            return Verdict(mutant, "killed", f"compiler: {report.diagnostics()[0].code}")
        changed = self.tests.of(checked)
        for name in mutant.relations:
            if words := self.tests.fails(checked, changed[name]):
                return Verdict(mutant, "killed", words, name)
        _, original = self._original(mutant.relations)
        for name in mutant.relations:
            for given in original[name].databases(SEARCH):
                told = _TellsApart(original[name], changed[name], mutant.key)
                if told(given):
                    small = _smallest(given, told)
                    right = original[name].rows(small)
                    reads = original[name].pack.manifest.relations[name].required
                    shown = {n: [{c: row[c] for c in reads[n]} for row in rows] for n, rows in small.items()}
                    return Verdict(mutant, "survived", "no test tells it apart", name, shown, right)
        return Verdict(mutant, "equal", f"no difference on {SEARCH} small databases")

    def _original(self, names: tuple[str, ...]) -> tuple[Checked, dict[str, RelationTest]]:
        if names not in self._whole:
            checked = _compiled(self.resolved, names, Report())
            assert checked is not None, names
            self._whole[names] = checked, self.tests.of(checked)
        return self._whole[names]


@dataclass(frozen=True)
class _TellsApart:
    """Whether a database gives the mutant other rows than the original, or breaks the key that the mutant claims."""

    original: RelationTest
    changed: RelationTest
    key: tuple[str, ...]

    def __call__(self, given: Mapping[str, list[Row]]) -> bool:
        right = self.original.rows(given)
        if self.key:
            return len({tuple(row[name] for name in self.key) for row in right}) < len(right)
        try:
            return multiset(right) != multiset(self.changed.rows(given))
        except Exception:  # noqa: BLE001 - a statement that fails is another one
            return True


def _smallest(given: Mapping[str, list[Row]], told: _TellsApart) -> dict[str, list[Row]]:
    """Drop rows for as long as what is left still tells the two apart."""
    small = {name: list(rows) for name, rows in given.items()}
    for name in small:
        for row in list(small[name]):
            fewer = {**small, name: [r for r in small[name] if r is not row]}
            if told(fewer):
                small = fewer
    return small


def _compiled(resolved: Resolved, names: tuple[str, ...], report: Report) -> Checked | None:
    """Compile the relations named and all that they are made from."""
    bound = bind(replace(resolved, queries={}), report)
    if bound is None:
        return None
    wanted: set[str] = set()
    stack = list(names)
    while stack:
        name = stack.pop()
        if name in bound.relations and name not in wanted:
            wanted.add(name)
            stack += bound.relations[name].inputs
    relations = {n: r for n, r in bound.relations.items() if n in wanted}
    return check(replace(bound, relations=relations, order=tuple(n for n in bound.order if n in wanted)), report)


def mutate(project: Project, pack: str, report: Report, progress: Callable[[int, int], None]) -> list[Verdict] | None:
    """Judge every mutant of a pack, in two processes; None if `report` says why the pack does not compile."""
    resolved = _resolved(project, pack, report)
    if resolved is None:
        return None
    count = len(list_mutants(resolved))
    verdicts: list[Verdict] = []
    with ProcessPoolExecutor(_PROCESSES, get_context("spawn"), _begin, (project, pack)) as pool:
        for verdict in pool.map(_judge, range(count), chunksize=4):
            verdicts.append(verdict)
            progress(len(verdicts), count)
    return verdicts


def _resolved(project: Project, pack: str, report: Report) -> Resolved | None:
    files = read_pack(project.specs / pack, f"specs/{pack}", report)
    library = read_pack(project.library(), "specs/std", report)
    return None if report.failed else resolve(files, library, report)


_state: tuple[Mutation, list[Mutant]] | None = None
"""What a worker judges: each compiles the pack for itself, because syntax trees are dear to send."""


def _begin(project: Project, pack: str) -> None:
    global _state  # noqa: PLW0603 - a worker's own
    resolved = _resolved(project, pack, Report())
    assert resolved is not None
    folder = project.generated / pack
    policy = next(path for path in sorted((folder / "policy").glob("*.json")))
    tests = Tests(folder, (f"policy/{policy.name}", _frugal(policy.read_bytes())))
    _state = Mutation(resolved, tests), list_mutants(resolved)


def _frugal(policy: bytes) -> bytes:
    """Return a policy whose sessions have little memory: a recursion that a mutant made endless fails at once."""
    found = json.loads(policy)
    for decision in found["session_profile_by_workload"].values():
        decision["value"]["settings"]["datafusion.runtime.memory_limit"]["value"] = _MEMORY
    return json.dumps(found).encode()


def _judge(i: int) -> Verdict:
    assert _state is not None
    mutation, listed = _state
    verdict = mutation.judge(listed[i])
    return replace(verdict, mutant=replace(verdict.mutant, resolved=None))
