"""A pipeline of one small step, which says a line. Without postponed annotations: KFP reads them itself."""

from pathlib import Path

from tests.cluster.node import BASE_IMAGE
from tidegate.adapters.kfp_packages import Package, read_package
from tidegate.ids import new_id
from tidegate.wire import PROGRESS_MARK


def greeting(folder: Path) -> Package:
    """Under a name of its own; the image is on the node."""
    from kfp import compiler, dsl, kubernetes  # noqa: PLC0415

    say = f"echo '{PROGRESS_MARK}good day'; sleep 3"  # long enough to be seen while it runs

    @dsl.container_component  # type: ignore[untyped-decorator]
    def greet() -> dsl.ContainerSpec:
        return dsl.ContainerSpec(image=BASE_IMAGE, command=["sh", "-c", say])

    @dsl.pipeline(name=f"greeting-{new_id().lower()}", description="of a test")  # type: ignore[untyped-decorator]
    def one() -> None:
        task = greet()
        task.set_caching_options(enable_caching=False)
        kubernetes.add_pod_label(task, "tidegate.dev/step", "greet")

    path = folder / "greeting.yaml"
    compiler.Compiler().compile(one, str(path))
    return read_package(path)
