"""No test asserts on time: hypothesis' deadline would, and first calls import slow libraries."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
