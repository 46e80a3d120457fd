"""Runs the tests in groups, a process each, three at a time, or one beside a compiler (docs/decisions/0003).

    make test                           all groups; PYTEST_ARGS goes to every pytest
    TIDEGATE_TEST_JOBS=1 make test      one after the other, with their output as it comes (for --pdb)
    TIDEGATE_LOOP=0, TIDEGATE_NODE=0    without the whole loop; without the one-node cluster
    make coverage                       also says which lines no test runs; takes longer

What Kubernetes tests run on is built first, so that minutes of a compiler do not count as a test's time. A build that
exits with 3 cannot be done on this machine: its tests skip themselves and say so. All groups run, and the exit status
says whether every one passed.
"""

from __future__ import annotations

import graphlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CANNOT_RUN = 3
NO_TESTS = 5
_TAIL = 40
_COVERAGE = "TIDEGATE_COVERAGE"


@dataclass(frozen=True)
class Step:
    """A build, or a group of tests."""

    name: str
    command: tuple[str, ...]
    after: tuple[str, ...] = ()
    """Builds that it waits for; without one that failed it does not run."""
    alone: str = ""
    """Steps with the same word here never run beside each other."""
    build: bool = False


@dataclass(frozen=True)
class Outcome:
    step: Step
    status: int
    seconds: float
    output: str

    @property
    def fine(self) -> bool:
        """Whether it passed, or is a build that this machine cannot do."""
        return self.status == 0 or (self.step.build and self.status == CANNOT_RUN)


def build(name: str, *command: str, after: tuple[str, ...] = ()) -> Step:
    """One at a time: each takes all processors."""
    return Step(name, command, after, alone="build", build=True)


def group(name: str, *arguments: str, after: tuple[str, ...] = (), alone: str = "") -> Step:
    given = arguments or (name,)
    traced = ("--cov", "--cov-report=") if os.environ.get(_COVERAGE) else ()
    command = (sys.executable, "-m", "pytest", *given, "-q", "--no-header", *traced, *sys.argv[1:])
    return Step(name, command, after, alone)


def steps(environment: Mapping[str, str]) -> list[Step]:
    """In the order in which they are taken.

    Builds and then the node's two groups, which run one after the other, are the longest way through: they go first.
    Beside the compilers go the groups that wait for none, and those that need many processors themselves go last.
    """
    images = "hack/images/setup.sh && BASE_IMAGE=local hack/images/build.sh --archive operator receiver mlflow"
    node = environment.get("TIDEGATE_NODE", "1") != "0"
    found = [build("build Kubernetes", "hack/kube/build.sh")]
    if node:
        found += [
            build("build the node", "hack/kube/node/build.sh", after=("build Kubernetes",)),
            build("build KubeRay", "hack/kuberay/build.sh", after=("build the node",)),
        ]
    found += [
        build("build Helm", "sh", "-c", "hack/helm/build.sh && hack/helm/build.sh glua"),
        build("build MinIO", "hack/minio/build.sh"),
        build("build images", "sh", "-c", images),
    ]
    if node:
        platform = ("build the node", "build KubeRay", "build Helm", "build MinIO", "build images")
        found += [
            group("tests/cluster", *_files("tests/cluster"), after=platform, alone="node"),
            build("build Kubeflow Pipelines", "hack/kfp/build.sh", after=("build the node", "build MinIO")),
            build("build Kueue", "hack/kueue/build.sh", after=("build KubeRay", "build Kubeflow Pipelines")),
            group("tests/cluster/kfp", after=("build Kueue", "build Kubeflow Pipelines", *platform), alone="node"),
        ]
    found += [
        group("tests/unit", "tests/unit", "-m", "not integration"),
        group("tests/unit, with a real part", "tests/unit", "-m", "integration"),
        *sorted(_integration(), key=lambda step: len(step.after)),
        group("tests/e2e/operator", after=("build Kubernetes",)),
    ]
    if environment.get("TIDEGATE_LOOP", "1") != "0":
        found.append(group("tests/e2e/test_loop.py"))
    return found


def _integration() -> Iterator[Step]:
    """A group a folder; only those that never ask the API server need not wait for it."""
    waits = {
        "chart": ("build Kubernetes", "build Helm"),
        "images": ("build images",),
        **dict.fromkeys(("features", "storage"), ("build MinIO",)),
        **dict.fromkeys(("compute", "engines", "registry", "train"), ()),
    }
    for folder in sorted((ROOT / "tests" / "integration").iterdir()):
        if any(folder.glob("test_*.py")):
            yield group(f"tests/integration/{folder.name}", after=waits.get(folder.name, ("build Kubernetes",)))


def _files(folder: str) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in sorted((ROOT / folder).glob("test_*.py"))]


class Runner:
    """Runs steps as processes; an interrupt ends all of them."""

    def __init__(self, scratch: Path, *, jobs: int) -> None:
        self._scratch = scratch
        self._jobs = jobs
        self._running: set[subprocess.Popen[str]] = set()
        self._ending = False
        self._lock = threading.Lock()

    def run(self, todo: list[Step]) -> list[Outcome]:
        order = graphlib.TopologicalSorter({step.name: step.after for step in todo})
        order.prepare()
        by_name = {step.name: step for step in todo}
        ready: list[Step] = []
        done: dict[str, Outcome] = {}
        going: dict[Future[Outcome], Step] = {}
        with ThreadPoolExecutor(self._jobs) as pool:
            try:
                while order.is_active():
                    ready += [by_name[name] for name in order.get_ready()]
                    ready.sort(key=todo.index)
                    while (step := self._next(ready, list(going.values()))) is not None:
                        ready.remove(step)
                        going[pool.submit(self._one, step, done)] = step
                    ended, _ = wait(going, return_when=FIRST_COMPLETED)
                    for future in ended:
                        step = going.pop(future)
                        done[step.name] = future.result()
                        order.done(step.name)
                        self._tell(done[step.name], len(done), len(todo))
            except BaseException:
                self._end()
                raise
        return list(done.values())

    def _next(self, ready: list[Step], going: list[Step]) -> Step | None:
        taken = {step.alone for step in going if step.alone}
        first = next((step for step in ready if step.alone not in taken), None)
        free = self._jobs - sum(map(self._places, going))
        # One that finds too little room is waited for: those after it could take its place for ever.
        return first if first is not None and self._places(first) <= free else None

    def _places(self, step: Step) -> int:
        """A compiler keeps all processors busy, and most steps wait for what it makes: it goes beside one group."""
        return min(2, self._jobs - 1) if step.build and self._jobs > 1 else 1

    def _one(self, step: Step, done: Mapping[str, Outcome]) -> Outcome:
        failed = [name for name in step.after if not done[name].fine]
        if failed:
            return Outcome(step, 1, 0.0, f"not run: {', '.join(failed)} failed\n")
        say(f"{step.name} …")
        started = time.monotonic()
        # Coverage of each in a file of its own: two that append to one would lose lines.
        environment = {**os.environ, "COVERAGE_FILE": str(self._scratch / f".coverage.{step.name.replace('/', '-')}")}
        with self._lock:  # a process that is started is also one that an interrupt finds
            if self._ending:
                return Outcome(step, 1, 0.0, "not run: interrupted\n")
            process = self._start(step, environment)
            self._running.add(process)
        output, _ = process.communicate()
        with self._lock:
            self._running.discard(process)
        status = 0 if process.returncode == NO_TESTS and len(sys.argv) > 1 else process.returncode
        return Outcome(step, status, time.monotonic() - started, output or "")

    def _start(self, step: Step, environment: Mapping[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            step.command,
            cwd=ROOT,
            env=environment,
            stdin=None if self._jobs == 1 else subprocess.DEVNULL,
            stdout=None if self._jobs == 1 else subprocess.PIPE,
            stderr=None if self._jobs == 1 else subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=self._jobs > 1,
        )

    def _tell(self, outcome: Outcome, number: int, of: int) -> None:
        good = ("done" if outcome.step.build else "passed") if outcome.status == 0 else "left out"
        word = good if outcome.fine else "FAILED"
        say(f"[{number}/{of}] {outcome.step.name}: {word} in {outcome.seconds:.0f} s")
        lines = outcome.output.rstrip().splitlines()
        if outcome.step.build:  # a compiler's talk is of interest where it failed
            lines = [] if outcome.status == 0 else lines[-_TAIL:]
        for line in lines:
            print(f"   {line}", flush=True)

    def _end(self) -> None:
        """As Ctrl-C does: fixtures take down what they brought up."""
        with self._lock:
            self._ending = True
            for process in self._running:
                with suppress(ProcessLookupError):
                    if self._jobs > 1:
                        os.killpg(process.pid, signal.SIGINT)
                    else:  # of this process' own group: Ctrl-C reached it already, a signal from elsewhere did not
                        process.send_signal(signal.SIGINT)


def say(text: str) -> None:
    print(f"== {time.strftime('%H:%M:%S')} {text}", flush=True)


def main() -> int:
    started = time.monotonic()
    jobs = int(os.environ.get("TIDEGATE_TEST_JOBS") or min(3, (os.cpu_count() or 1) + 1))
    for variable, what in (("TIDEGATE_LOOP", "the whole loop"), ("TIDEGATE_NODE", "the one-node cluster")):
        if os.environ.get(variable) == "0":
            print(f"left out: {what} ({variable})")
    with tempfile.TemporaryDirectory(prefix="tidegate-tests-") as folder:
        outcomes = Runner(Path(folder), jobs=jobs).run(steps(os.environ))
        _coverage(Path(folder))
    for outcome in sorted(outcomes, key=lambda item: -item.seconds):
        print(f"{outcome.seconds:6.0f} s  {outcome.step.name}")
    failed = [outcome for outcome in outcomes if not outcome.fine]
    if failed:
        print(*(f"failed: {outcome.step.name}" for outcome in failed), sep="\n", file=sys.stderr)
        return 1
    groups = sum(not outcome.step.build for outcome in outcomes)
    print(f"all {groups} groups of tests passed in {time.monotonic() - started:.0f} s")
    return 0


def _coverage(folder: Path) -> None:
    """One report of all groups; `.coverage` is left for `coverage html`."""
    coverage = (sys.executable, "-m", "coverage")
    files = [str(path) for path in folder.glob(".coverage.*")]
    if files:
        subprocess.run([*coverage, "combine", "-q", *files], cwd=ROOT, check=False)
        report = subprocess.run(
            [*coverage, "report", "--skip-covered", "--sort=cover"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        print(*report.stdout.splitlines()[-25:], sep="\n")


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    # What a CI system sends at its limit: nothing may be left running. A shell lets its background jobs ignore SIGINT,
    # and what they start as well; with a handler here it means the same to pytest again.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _interrupted)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
