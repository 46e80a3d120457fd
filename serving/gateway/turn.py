"""A request on its way: everything about it that is fixed before an arm is asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from serving.gateway.features import ByReference
from serving.gateway.validation import Ask
from tidegate.domain.routing import Arm, RoutingTable


@dataclass(frozen=True, slots=True)
class Turn:
    """One request under one routing table.

    Args:
        started: monotonic seconds at arrival; `deadline`: event loop time by which it must be answered (s).
        arm: the arm that the user's key chose.
        pseudonym: salted digest of the user key, as evidence and logs carry it.
        place: of the user's key in the order in which users move to the candidate, in [0, 100).
        customer: entity of the feature store.
        features: values by Feast reference, for all arms.
    """

    request_id: str
    time: datetime
    started: float
    deadline: float
    ask: Ask
    table: RoutingTable
    arm: Arm
    pseudonym: str
    place: float
    customer: str
    features: ByReference
