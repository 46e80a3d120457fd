"""The image of every step: one image for all, because steps are thin and share the platform's code."""

from __future__ import annotations

BASE_IMAGE = "registry.example.com/tidegate/pipeline-data:0.1.0"
"""Compiled packages name it; an installation with a registry of its own replaces it when it compiles."""
