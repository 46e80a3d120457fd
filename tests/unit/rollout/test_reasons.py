"""Every reason that a state can show is explained in docs/rollouts.md, and no other one is."""

from __future__ import annotations

import ast
from pathlib import Path

import serving.rollout
from tests.unit.rollout.invariants import documented_reasons

_SHOWS = {"say": 0, "move": 1, "reroute": 1, "roll_back": 0, "revert": 0, "promote": 0, "pause": 0, "start": 2}
"""Methods of `Draft`, and which of their arguments is the reason."""
_OWN_FUNCTIONS = {"_inconclusive": 1}
_WARNINGS = {"GateOverridden"}
"""Preflight's warnings become part of a message and never a state's reason."""


def used_reasons() -> set[str]:
    """Reasons in the code of the judgement: literal arguments of what changes a state, and of preflight's checks."""
    found: set[str] = set()
    for path in Path(serving.rollout.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                found |= _of_call(node)
            if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "reason":
                found |= _literal(node.value)
    return found


def _of_call(node: ast.Call) -> set[str]:
    method, function = getattr(node.func, "attr", None), getattr(node.func, "id", None)
    found: set[str] = set()
    place = _SHOWS.get(method or "", _OWN_FUNCTIONS.get(function or "", -1))
    if 0 <= place < len(node.args):
        found |= _literal(node.args[place])
    if function in {"Check", "RolloutState"}:
        found |= {reason for keyword in node.keywords if keyword.arg == "reason" for reason in _literal(keyword.value)}
    return found


def _literal(node: ast.expr | None) -> set[str]:
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value else set()


def test_the_documented_reasons_are_those_of_the_code() -> None:
    assert used_reasons() - _WARNINGS == documented_reasons()
