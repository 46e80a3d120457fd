"""A real API server with tidegate's definitions."""

from __future__ import annotations

from tests.kube_fixtures import kube, kuberay, namespace

__all__ = ["kube", "kuberay", "namespace"]
