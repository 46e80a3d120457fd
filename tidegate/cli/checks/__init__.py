"""The doctor's checks, one file each: a probe that looks, and a pure `decide` that judges what it saw.

To add a check, write a module with `check(settings) -> Finding` here and name it in `tidegate.cli.doctor.CHECKS`.
"""
