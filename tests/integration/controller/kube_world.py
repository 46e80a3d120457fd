"""The same platform on a real API server; only registry and engines are stand-ins, as on one machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from serving.controller.loop import Controller
from serving.gateway.kube_routing import KubeRoutingSource
from serving.operator.assembly import assemble
from serving.operator.objects import Objects
from serving.operator.statuses import decode
from tests.integration.controller.fakes import KEY
from tests.integration.controller.world import LEASE_SECONDS, NAME, World
from tests.kube_api import ROOT, KubeApi
from tests.kube_fixtures import install
from tidegate.adapters.kube.api import KubeApi as Client
from tidegate.adapters.kube.kinds import OWN
from tidegate.clock import Clock
from tidegate.domain.resources import AnyResource, to_manifest
from tidegate.errors import Conflict
from tidegate.ids import new_id
from tidegate.plane_settings import Intervals
from tidegate.settings import Settings

RAY_SERVICE_CRD = ROOT / "tests" / "integration" / "controller" / "rayservice_crd.yaml"


class KubeWorld(World):
    """`look` does what kopf's watches do in the operator's process."""

    manager = "kubectl"
    """Who applies manifests, as the API server's managed fields have it."""

    def __init__(
        self,
        home: Path,
        api: KubeApi,
        namespace: str,
        clock: Clock | None = None,
        lease_ttl: float = LEASE_SECONDS,
        database_url: str = "",
    ) -> None:
        self.database_url = database_url or f"sqlite:///{home / 'tidegate.db'}"
        self.api = api
        self.namespace = namespace
        self._objects: list[Objects] = []
        super().__init__(home, clock, lease_ttl)

    @classmethod
    def serving(cls, home: Path, api: KubeApi) -> KubeWorld:
        """In a namespace of its own, with the first version serving."""
        made = cls(home, api, api.make_namespace())
        made.set_up()
        made.until("Succeeded")
        for _ in range(3):
            made.tick()
        return made

    @staticmethod
    def install(api: KubeApi) -> None:
        """Installs tidegate's definitions and RayService's."""
        install(api, *sorted((ROOT / "helm" / "tidegate" / "files" / "crds").glob("*.yaml")), RAY_SERVICE_CRD)

    def another(self) -> Controller:
        settings = Settings(
            home=self.home,
            intervals=Intervals(lease_ttl=self.lease_ttl, ack_fresh=10.0, status_write=0),
            database_url=self.database_url,
        )
        key = settings.attestation_key_path
        if not key.exists():
            key.parent.mkdir(parents=True, exist_ok=True)
            key.write_text(KEY.hex())
        registry, engines = self.outside()
        operator = assemble(settings, api=self.client(), registry=registry, engines=engines, clock=self.clock)
        self._objects.append(operator.objects)
        return operator.controller

    def client(self) -> Client:
        """With the time that an API server needs on a busy machine."""
        return Client.from_kubeconfig(self.api.kubeconfig("admin", self.namespace), self.namespace, seconds=60.0)

    def again(self) -> World:
        return KubeWorld(self.home, self.api, self.namespace, self.clock, self.lease_ttl, self.database_url)

    @property
    def status(self) -> dict[str, Any]:
        """As `kubectl` sees it, with what the controller reads in the controller's words."""
        self.look()
        body = self._objects[0].get(OWN["ModelDeployment"], NAME)
        assert body is not None
        status = body.get("status") or {}
        return {**status, **decode("ModelDeployment", status)}

    def look(self) -> None:
        self._objects[0].refresh()

    def apply(self, resource: AnyResource) -> None:
        self.apply_raw(to_manifest(resource))

    def apply_raw(self, manifest: dict[str, Any]) -> None:
        manifest["metadata"]["namespace"] = self.namespace
        done = self.api.kubectl(
            "apply",
            "--server-side",
            f"--field-manager={self.manager}",
            "-f",
            "-",
            namespace=self.namespace,
            stdin=json.dumps(manifest),
            check=False,
        )
        if done.returncode != 0:
            raise Conflict(done.stderr)

    def delete(self, kind: str, name: str) -> None:
        self.api.kubectl("delete", OWN[kind].plural, name, "--wait=false", namespace=self.namespace)

    def ask(self, action: str, by: str, reason: str = "") -> str:
        spec = {"deployment": NAME, "action": action.capitalize(), "requestedBy": by, "reason": reason}
        body: dict[str, Any] = {"metadata": {"name": f"ask-{new_id().lower()}"}, "spec": spec}
        return str(self.client().create(OWN["RolloutAction"], body)["metadata"]["uid"])

    def answer(self, asked: str) -> str | None:
        found = [body for body in self.client().list(OWN["RolloutAction"])[0] if body["metadata"]["uid"] == asked]
        answer = (found[0].get("status") or {}).get("answer")
        return str(answer) if answer is not None else None

    def lose_status(self) -> None:
        client = self.client()
        body = client.get(OWN["ModelDeployment"], NAME)
        assert body is not None
        epoch = body["status"]["leaderEpoch"]
        client.replace(OWN["ModelDeployment"], {**body, "status": {"leaderEpoch": epoch}}, status=True)

    def acknowledge(self, epoch: int) -> None:
        KubeRoutingSource(self.client(), self.clock, 10.0).acknowledge_all("gateway-1", {NAME: epoch})
