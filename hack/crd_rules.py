"""What the definitions say beyond the models' fields: rules over several fields, list keys, columns.

Each rule here is a validator of the models said in CEL, or a rule about changes, which only an API server can keep.
`crds.py` refuses to generate while a model has a validator and no rule here.
"""

from __future__ import annotations

from typing import Any

_DECIMAL = r"self.matches('^[0-9]{1,6}(\\.[0-9]{1,6})?$')"
"""Beside it stands the field's pattern, which names what is wrong; without it the conversion would fail, too."""


def _rule(rule: str, message: str, *, reason: str = "FieldValueInvalid", path: str | None = None) -> dict[str, Any]:
    """A message that starts with = is an expression. Numbers go through format: the cost of string() has no bound."""
    found = {"rule": rule}
    found |= {"messageExpression": message[1:].strip()} if message.startswith("=") else {"message": message}
    found["reason"] = reason
    if path is not None:
        found["fieldPath"] = path
    return found


_LEADER = _rule(
    "self.leaderEpoch >= oldSelf.leaderEpoch",
    "='written under lease epoch %d, but epoch %d has led since: this operator lost its lease and must stop writing'"
    ".format([self.leaderEpoch, oldSelf.leaderEpoch])",
    reason="FieldValueForbidden",
    path=".leaderEpoch",
)
_STATUS_STAYS = _rule(
    "!has(oldSelf.status) || has(self.status)", "status cannot be removed", reason="FieldValueForbidden"
)


def _while_serving(field: str, what: str) -> dict[str, Any]:
    return _rule(
        f"!has(oldSelf.status) || !has(oldSelf.status.stable) || self.spec.{field} == oldSelf.spec.{field}",
        f"='{what} cannot change from ' + oldSelf.spec.{field} + ' to ' + self.spec.{field} + ' while version '"
        " + oldSelf.status.stable + ' serves: create another ModelDeployment, move applications to it, delete this'",
        reason="FieldValueForbidden",
        path=f".spec.{field}",
    )


TYPE_RULES: dict[str, list[dict[str, Any]]] = {
    "_share": [
        _rule(
            f"!{_DECIMAL} || (double(self) > 0.0 && double(self) <= 50.0)",
            "must be above 0 and at most 50 percent",
        )
    ],
    "_points": [_rule(f"!{_DECIMAL} || double(self) < 100.0", "must be below 100 points")],
}
"""By the name of the validator of an annotated type."""

MODEL_RULES: dict[str, list[dict[str, Any]]] = {
    "Placement": [
        _rule(
            "self.minReplicas <= self.maxReplicas",
            "='minReplicas %d is above maxReplicas %d'.format([self.minReplicas, self.maxReplicas])",
            path=".minReplicas",
        )
    ],
    "ModelSource": [
        _rule(
            "self.type == 'Alias' ? has(self.alias) && !has(self.version) : has(self.version) && !has(self.alias)",
            "='source type ' + self.type + ' takes exactly the field ' + (self.type == 'Alias' ? 'alias' : 'version')",
        )
    ],
    "RolloutMetric": [
        _rule(
            "self.comparison != 'Paired' || has(self.maxDropPoints)",
            "='paired metric ' + self.name + ' needs maxDropPoints'",
            reason="FieldValueRequired",
            path=".maxDropPoints",
        ),
        _rule(
            "self.comparison != 'Concurrent' || has(self.maxIncreasePoints) || has(self.maxIncreasePercent)",
            "='concurrent metric ' + self.name + ' needs maxIncreasePoints or maxIncreasePercent'",
            reason="FieldValueRequired",
        ),
        _rule(
            "self.mode != 'NonInferiority' || self.comparison == 'Paired'",
            "='metric ' + self.name + ': NonInferiority is for paired metrics; use NoHarm'",
            path=".mode",
        ),
    ],
    "RolloutPlan": [
        _rule(
            "self.steps.map(step, step.weight).isSorted()",
            "='step weights %s fall; a rollout only moves forward'.format([self.steps.map(step, step.weight)])",
            path=".steps",
        )
    ],
    "RoutingPrompt": [
        _rule(
            "size(self.featureViews) == 0 || size(self.featureViews) == size(self.features)",
            "featureViews and features must have the same length",
        )
    ],
    "ModelRoutingSpec": [
        _rule("!self.removed || size(self.arms) == 0", "a removed routing has no arms", path=".arms"),
        _rule(
            "self.removed || self.arms.exists_one(arm, arm.role == 'Stable')",
            "exactly one arm must be Stable",
            path=".arms",
        ),
        _rule(
            "self.removed || self.arms.map(arm, arm.weight).sum() == 100",
            "='the weights sum to %d, not to 100'.format([self.arms.map(arm, arm.weight).sum()])",
            path=".arms",
        ),
        _rule(
            "self.epoch > oldSelf.epoch || self == oldSelf",
            "='epoch %d comes too late: epoch %d is in force; read it and decide anew'"
            ".format([self.epoch, oldSelf.epoch])",
            reason="FieldValueForbidden",
            path=".epoch",
        ),
        _LEADER,
    ],
    "ModelRolloutSpec": [
        _rule(
            "self == oldSelf",
            "the spec is frozen: change the ModelDeployment, and its next attempt is a new ModelRollout",
            reason="FieldValueForbidden",
        )
    ],
    "RolloutActionSpec": [
        _rule("self == oldSelf", "an action cannot be changed: create another one", reason="FieldValueForbidden")
    ],
    "RolloutActionStatus": [
        _LEADER,
        _rule(
            "!has(oldSelf.answer) || (has(self.answer) && self.answer == oldSelf.answer"
            " && has(self.accepted) == has(oldSelf.accepted)"
            " && (!has(self.accepted) || self.accepted == oldSelf.accepted))",
            "='this action was answered already: ' + oldSelf.answer",
            reason="FieldValueForbidden",
            path=".answer",
        ),
    ],
    "ModelRuntimeStatus": [_LEADER],
    "ModelDeploymentStatus": [_LEADER],
    "ModelRolloutStatus": [_LEADER],
    "ModelRuntime": [
        _STATUS_STAYS,
        _rule(
            "!self.metadata.name.matches('-e[0-9]+$')",
            "='name ' + self.metadata.name"
            " + ' ends like an engine of another runtime (-e<number>); choose another name'",
        ),
    ],
    "ModelRollout": [_STATUS_STAYS],
    "RolloutAction": [_STATUS_STAYS],
    "ModelDeployment": [
        _STATUS_STAYS,
        _while_serving("runtimeRef.name", "the runtime"),
        _while_serving("model.name", "the registered model"),
    ],
}
"""By the name of the model."""

LIST_KEYS = {
    "RolloutStep": "name",
    "RolloutMetric": "name",
    "ResourceCondition": "type",
    "RoutingArm": "role",
    "RolloutVerdict": "metric",
}
"""Lists of these are maps by a key: unique, and merged item by item by server-side apply."""


def _column(name: str, path: str, kind: str = "string", *, wide: bool = False) -> dict[str, Any]:
    """A column of `kubectl get`; a wide one shows with -o wide."""
    return {"name": name, "type": kind, "jsonPath": path, **({"priority": 1} if wide else {})}


_AGE = _column("Age", ".metadata.creationTimestamp", "date")

COLUMNS: dict[str, list[dict[str, Any]]] = {
    "ModelRuntime": [
        _column("Engine", ".spec.engine.type"),
        _column("Ready", ".status.replicasReady", "integer"),
        _column("Wanted", ".status.replicasWanted", "integer"),
        _column("Base", ".spec.baseModel.uri", wide=True),
        _column("URL", ".status.url", wide=True),
        _column("Message", ".status.message", wide=True),
        _AGE,
    ],
    "ModelDeployment": [
        _column("Stable", ".status.stable"),
        _column("Candidate", ".status.candidate"),
        _column("Step", ".status.step"),
        _column("Weight", ".status.weight", "integer"),
        _column("Pairs", ".status.pairs", "integer"),
        _column("ETA", ".status.eta"),
        _column("Reason", ".status.reason"),
        _column("Phase", ".status.phase", wide=True),
        _column("Message", ".status.message", wide=True),
        _AGE,
    ],
    "ModelRollout": [
        _column("Deployment", ".spec.deployment"),
        _column("Candidate", ".spec.candidate"),
        _column("Phase", ".status.phase"),
        _column("Step", ".status.step"),
        _column("Weight", ".status.weight", "integer"),
        _column("Pairs", ".status.pairs", "integer"),
        _column("Reason", ".status.reason"),
        _column("Stable", ".spec.stable", wide=True),
        _column("ETA", ".status.eta", wide=True),
        _column("Message", ".status.message", wide=True),
        _AGE,
    ],
    "RolloutAction": [
        _column("Deployment", ".spec.deployment"),
        _column("Action", ".spec.action"),
        _column("By", ".spec.requestedBy"),
        _column("Accepted", ".status.accepted", "boolean"),
        _column("Answer", ".status.answer"),
        _column("Rollout", ".spec.rollout", wide=True),
        _column("Why", ".spec.reason", wide=True),
        _AGE,
    ],
    "ModelRouting": [
        _column("Model", ".spec.model"),
        _column("Epoch", ".spec.epoch", "integer"),
        _column("Stable", '.spec.arms[?(@.role=="Stable")].version'),
        _column("Candidate", '.spec.arms[?(@.role=="Candidate")].version'),
        _column("Weight", '.spec.arms[?(@.role=="Candidate")].weight', "integer"),
        _column("Rollout", ".spec.rollout", wide=True),
        _column("Step", ".spec.step", wide=True),
        _column("Updated", ".spec.updatedAt", "date"),
        _AGE,
    ],
}

SELECTABLE = {"ModelRollout": (".spec.deployment",), "RolloutAction": (".spec.deployment",)}
"""Fields that `--field-selector` and watches can filter by."""
