"""The ledger: append-only, hash-chained facts in SQL. See `tidegate.ledger.ledger.Ledger`."""

from tidegate.ledger.entry import GENESIS, KINDS, Draft, Kind, LedgerEntry, fact_id
from tidegate.ledger.ledger import Ledger
from tidegate.ledger.serving import Serving, ServingArm
from tidegate.ledger.verify import Anchor, VerifyResult

__all__ = [
    "GENESIS",
    "KINDS",
    "Anchor",
    "Draft",
    "Kind",
    "Ledger",
    "LedgerEntry",
    "Serving",
    "ServingArm",
    "VerifyResult",
    "fact_id",
]
