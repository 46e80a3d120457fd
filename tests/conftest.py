"""For all tests: no test asserts on time, so Hypothesis does not either."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("tidegate", deadline=None)
settings.load_profile("tidegate")
