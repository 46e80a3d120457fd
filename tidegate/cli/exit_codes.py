"""Exit codes of `tidegate`: one a class of error. A test holds them against `tidegate.errors`."""

from __future__ import annotations

EXIT_CODES: dict[int, str] = {
    0: "done",
    1: "a problem was found, or an unexpected error",
    2: "invalid input or usage",
    3: "not found",
    4: "conflict: it exists, or changed meanwhile",
    5: "a part of the platform does not answer",
    6: "a quality gate said no",
    7: "a contract is broken: schema, digest, attestation, ledger",
    8: "no room left: disk, memory, ports, slots",
    9: "not allowed: a permission is missing",
    130: "interrupted",
}

EPILOG = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + "."
