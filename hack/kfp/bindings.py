"""Go code for KFP's two message files, made from the descriptors that its Python packages carry.

bindings.py PROTOC-GEN-GO FOLDER    FOLDER holds the modules `api` and `kubernetes_platform`

Run it in an environment that holds only the pinned packages: beside the SDK, its newer messages would be found.
"""

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from google.protobuf.compiler import plugin_pb2

SITE = Path(sysconfig.get_paths()["purelib"])
MESSAGES = {
    "kfp/pipeline_spec/pipeline_spec_pb2.py": "api/v2alpha1/go/pipelinespec",
    "kfp/kubernetes/kubernetes_executor_config_pb2.py": "kubernetes_platform/go/kubernetesplatform",
}


def main() -> None:
    compiler, folder = sys.argv[1], Path(sys.argv[2])
    # kfp.kubernetes imports all of the SDK; its messages need nothing but themselves.
    package = ModuleType("kfp")
    package.__path__ = [str(SITE / "kfp")]
    sys.modules["kfp"] = package
    for path, target in MESSAGES.items():
        for name, code in generated(load(SITE / path).DESCRIPTOR, compiler):
            (folder / target / Path(name).name).write_text(code, encoding="utf-8")
            print(f"wrote {folder / target / Path(name).name}")


def load(path: Path) -> Any:
    """The module in a file, without its package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def generated(descriptor: Any, compiler: str) -> list[tuple[str, str]]:
    """What protoc would write for one message file: names and code."""
    request = plugin_pb2.CodeGeneratorRequest(parameter="paths=source_relative")
    request.file_to_generate.append(descriptor.name)
    seen: set[str] = set()

    def add(file: Any) -> None:
        if file.name not in seen:
            seen.add(file.name)
            for needed in file.dependencies:
                add(needed)
            request.proto_file.add().ParseFromString(file.serialized_pb)

    add(descriptor)
    done = subprocess.run([compiler], input=request.SerializeToString(), stdout=subprocess.PIPE, check=True)
    answer = plugin_pb2.CodeGeneratorResponse.FromString(done.stdout)
    if answer.error:
        sys.exit(f"{descriptor.name}: {answer.error}")
    return [(file.name, file.content) for file in answer.file]


main()
