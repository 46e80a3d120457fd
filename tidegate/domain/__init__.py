"""Domain types: pydantic models, versioned, each a contract between two planes.

Import from the submodules; this package imports nothing, so that a reader of one contract does not pay for the others.
"""
