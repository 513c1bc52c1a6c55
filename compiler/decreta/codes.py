"""The table of diagnostic codes of all stages: one line of what, and the words that `decreta explain CODE` prints."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """What a code means, why decreta insists, and what to do."""

    title: str
    why: str
    mend: str


CODES: dict[str, Code] = {
    "D101": Code(
        "a spec file cannot be read",
        "Specs are UTF-8 text of at most 1 MiB; anything else is no spec, and guessing an encoding changes names.",
        "Save the file as UTF-8, split it, or fix its permissions.",
    ),
    "D102": Code("a spec file is empty", "An empty file says nothing, and its name is taken.", "Fill or delete it."),
    "D103": Code("a file is not YAML, TOML or Python", "The parser stopped at this place.", "Mend the syntax there."),
    "D104": Code(
        "a YAML feature that specs do not use",
        "Anchors, aliases, tags, merge keys and directives make a spec read differently than it looks.",
        "Write the value out.",
    ),
    "D105": Code(
        "a key is written twice", "Readers disagree which of the two counts.", "Remove or rename one of them."
    ),
    "D106": Code(
        "a plain scalar that YAML 1.1 and 1.2 read differently",
        "`no`, `010`, `12:30:45` and dates are text to one reader and something else to another.",
        "Put quotes around it.",
    ),
    "D107": Code(
        "a file that no stage reads",
        "A spec in the wrong folder or with the wrong ending would be passed over without a word.",
        "Move it to objects/, relations/, queries/, templates/ (*.yaml), rules/, env/ (*.toml) or code/ (*.py).",
    ),
    "D108": Code("a file is missing", "A pack needs this file.", "Create it, or correct the name that asks for it."),
    "D201": Code("an unknown key", "A misspelt key would be ignored, and its meaning lost.", "Use a known key."),
    "D202": Code("a key is missing", "The spec does not say something that has no default.", "Add the key."),
    "D203": Code("a value of the wrong form", "The value cannot mean what its key needs.", "Write it in that form."),
    "D204": Code(
        "not in language 0.3",
        "Nothing obeys this field yet, and a field that nothing obeys would be a promise broken in silence.",
        "Leave it out; the changelog says when a later version reads it.",
    ),
    "D205": Code("an unknown name", "The name refers to nothing in this pack or its imports.", "Correct the name."),
    "D206": Code("a name is used twice", "Names of objects, relations and queries are one space.", "Rename one."),
    "D207": Code("an unknown version", "A reference names a major version that does not exist.", "Name another."),
    "D208": Code("a cycle", "Relations are computed after their inputs; a cycle has no first.", "Break the cycle."),
    "D209": Code(
        "arguments that do not fit a template",
        "A template lists the relations, columns and values that it needs, each with a role as its default.",
        "Give what is missing under `with`; see `decreta explain` of the template's parameters in its file.",
    ),
    "D210": Code("a name that cannot be used", "Names become file, SQL and Python names.", "Use [a-z][a-z0-9_]*."),
    "D301": Code("SQL that cannot be parsed", "The statement stops making sense at this place.", "Mend it there."),
    "D302": Code("an unknown table", "A statement may read objects and relations of its pack.", "Correct the name."),
    "D303": Code("an unknown column", "The table has no such column.", "Correct the name."),
    "D304": Code("an ambiguous column", "Two tables have a column of that name.", "Write it as `alias.column`."),
    "D305": Code(
        "a column without its table in a template",
        "A template's body is bound to other tables each time; only qualified columns stay unambiguous.",
        "Write it as `alias.column`.",
    ),
    "D306": Code("an expression without a name", "Output columns are a contract.", "Add `AS name`."),
    "D307": Code("the planner refuses the statement", "DataFusion cannot run it as written.", "Follow its words."),
    "D308": Code(
        "a comparison of unlike types",
        "The engine would cast in silence, and fail or differ on the data instead of here.",
        "Compare like with like, or write the CAST.",
    ),
    "D309": Code(
        "a comparison or union of unlike domains",
        "Keys of different things are both numbers, and joining them gives rows that mean nothing.",
        "Compare keys of one domain, or declare a sum: `domain: [a, b]`.",
    ),
    "D310": Code("a contract that the statement does not keep", "Readers rely on it.", "Change one of the two."),
    "D311": Code("a key that cannot hold", "Key columns exist and are never null.", "Correct the key."),
    "D312": Code("a macro used wrongly", "CARRY, EQ_ALL and COLS name the relations of a template.", "Correct it."),
    "D313": Code(
        "a statement that is not allowed",
        "Bodies are one SELECT; LATERAL calls of table functions answer wrongly without an error in DataFusion 55.",
        "Write one SELECT statement.",
    ),
    "D314": Code(
        "a query shape over an intermediate relation that is not stored",
        "It is computed once a run and gone when the query comes.",
        "Add `store: true` to the relation.",
    ),
    "D315": Code(
        "recursion that does not only add rows",
        "A recursive query ends, and means one thing, only if each step adds rows and drops repeated ones.",
        "Use UNION, and move minima, windows, anti-joins and groupings into relations of their own.",
    ),
    "D316": Code(
        "rounds that cannot be unrolled",
        "`rounds` repeats a UNION, one branch of which reads nothing of the cycle, a fixed number of times.",
        "Give the relation such a branch, or break the cycle.",
    ),
    "D317": Code(
        "a cardinality that a join does not keep",
        "A join that meets more rows than it says multiplies what is counted and summed after it.",
        "Join on the whole key, correct the cardinality, or join a relation that has one row for each key.",
    ),
    "D318": Code(
        "a locality that is not shown",
        "Groups are refreshed alone only where no row of one group depends on another.",
        "Equate the column in every join, and put it into groupings and windows; or remove `local_to`.",
    ),
    "D401": Code("a rule that cannot be read", "`when` is a conjunction of predicates over facts.", "Rewrite it."),
    "D402": Code("an unknown fact", "Rules read the facts of their domain's subjects.", "Correct the name."),
    "D403": Code("an unknown threshold or budget", "Numbers in rules have a name, a unit and a ladder.", "Define it."),
    "D404": Code("a constant in a rule", "A bare number cannot be set, compared or calibrated.", "Use a threshold."),
    "D405": Code("a value that does not fit its domain", "The runtime could not obey it.", "Correct the value."),
    "D406": Code(
        "an order that does not fit the rules",
        "Rules are tried in the written order; the last has no condition, so that something always holds.",
        "List each rule of the domain once, the one without `when` last.",
    ),
    "D407": Code("an unknown guard", "The runtime evaluates a closed set of guards.", "Use one of them."),
    "D408": Code("a value outside its ladder", "A ladder bounds what a threshold may be.", "Use one of its rungs."),
    "D409": Code(
        "a rule, threshold or exception written twice", "It would mean two things.", "Rename or remove one of the two."
    ),
    "D410": Code(
        "an engine without a capability file",
        "Decisions rely on what a probe saw of these very versions.",
        "Run `make probe` with them, or name another engine.",
    ),
    "D411": Code("an unknown engine setting", "The probed engine has no such setting.", "Correct the name."),
    "D412": Code("a literal outside an enumeration", "It never has that value.", "Use one of its values."),
    "D413": Code(
        "a rule that is never reached",
        "Whenever it would hold, a rule before it has decided already.",
        "Move it up, or remove it.",
    ),
    "D414": Code(
        "unlike units compared",
        "A number of relations says nothing of a number of bytes.",
        "Compare what is counted in one unit, or give the threshold the unit of the fact.",
    ),
    "D415": Code(
        "an exception that has ended",
        "An exception to a rollout holds until a version of the pack, and the pack has reached it.",
        "Remove it, or give it a later end and say why.",
    ),
    "D416": Code(
        "a function that an environment's engine does not have",
        "The statement would fail there; the probe of that engine did not find the function.",
        "Call a function that all engines of the pack have, or run `make probe` with the engine that has it.",
    ),
    "D417": Code(
        "an engine that does not keep what every decision rests on",
        "Baselines have no condition: their rows are right only where the probe saw these features.",
        "Name an engine whose capability file has them, or install other versions and run `make probe`.",
    ),
    "D601": Code("an unused import", "What is imported and not used misleads readers.", "Remove it."),
    "D602": Code("an unused parameter", "Callers give it, and it changes nothing.", "Use or remove it."),
    "D603": Code("an unused column", "It is computed in every run, for nobody.", "Leave it out, or store it."),
    "D604": Code(
        "a result that another run need not repeat",
        "Engines meet rows in any order: ties are broken, floats summed and limits cut differently each time.",
        "Order by a key, sum decimals, or declare which columns vary; rows that come and go must be made certain.",
    ),
    "D605": Code("a check that can never fail", "It proves nothing, and looks as if it did.", "Remove it."),
    "D606": Code(
        "a look-up that reads a whole table",
        "Statistics skip files and pages only where rows are sorted by what is asked for.",
        "Sort the table by it, declare an index of it, or accept the scan.",
    ),
    "D607": Code("an unused threshold", "To change it changes nothing.", "Ask for it in a rule, or remove it."),
    "D501": Code("a generated file is stale", "The specs say something else.", "Run `decreta generate`."),
    "D502": Code("a generated file was edited", "The next generation would lose it.", "Move the edit to the specs."),
    "D503": Code("a generated file is missing", "The pack would not load.", "Run `decreta generate`."),
    "D504": Code("a file that no spec generates", "It would be taken for part of the pack.", "Delete it."),
    "D505": Code(
        "generated by another toolchain",
        "Output is a function of specs and toolchain; differences may come from either.",
        "Install the committed versions (`make install`), or regenerate and commit.",
    ),
}
