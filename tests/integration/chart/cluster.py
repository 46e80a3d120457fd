"""Objects of the chart on the real API server."""

from __future__ import annotations

import httpx

from tests.integration.chart.charts import Json
from tests.kube_api import KubeApi

CLUSTER_WIDE = {"CustomResourceDefinition", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
_PLURALS = {
    "ValidatingAdmissionPolicy": "validatingadmissionpolicies",
    "NetworkPolicy": "networkpolicies",
}


def apply(cluster: KubeApi, item: Json, options: str = "") -> httpx.Response:
    """Server-side apply of one object, in the strictest way."""
    version, kind, head = item["apiVersion"], item["kind"], item["metadata"]
    plural = _PLURALS.get(kind, f"{kind.lower()}s")
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    place = root if kind in CLUSTER_WIDE else f"{root}/namespaces/{head['namespace']}"
    said = cluster.request(
        "PATCH",
        f"{place}/{plural}/{head['name']}?fieldManager=argocd&force=true&fieldValidation=Strict{options}",
        item,
        content_type="application/apply-patch+yaml",
    )
    assert said.is_success, f"{kind} {head['name']}: {said.text}"
    return said
