"""Tells the demo from beginning to end."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from tidegate.clock import SystemClock
from tidegate.db import Database
from tidegate.errors import TidegateError
from tidegate.local.demo import summary
from tidegate.local.demo.narrator import Narrator
from tidegate.local.demo.stages import Demo, demo_folder
from tidegate.local.demo.story import Story
from tidegate.local.demo.timeline import draw_timeline
from tidegate.local.platform import LocalPlatform
from tidegate.store.resources import ResourceStore

DEPLOYMENT = "intent-assistant"
MODEL = "banking-intent"

StoryMaker = Callable[[Path], Story]


def tell(
    make_story: StoryMaker, *, seed: int, keep: bool, console: Console, home: Path | None = None
) -> dict[str, Any]:
    """Runs the whole loop and prints it.

    Args:
        make_story: makes the story's data in a folder.
        seed: of data, training and traffic.
        keep: leave the platform running at the end.
        console: where it is told.
        home: state folder.

    Returns:
        The summary's facts.

    Raises:
        TidegateError: what went wrong; the platform is stopped then, its state stays.
    """
    narrator = Narrator(console)
    platform = LocalPlatform(home)
    ran_before = any(part.state == "running" for part in platform.status())
    finished = False
    try:
        found = _tell(platform, make_story, narrator, seed=seed, keep=keep or ran_before)
        finished = True
        return found
    finally:
        if not finished or not (keep or ran_before):
            # An impatient second Ctrl-C must not leave half of the platform running.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if any(part.state == "running" for part in platform.status()):
                console.print("\nstopping the platform", highlight=False)
            if platform.down(narrator.moving):
                console.print("the platform is stopped; its state stays", highlight=False)


def _tell(
    platform: LocalPlatform, make_story: StoryMaker, narrator: Narrator, *, seed: int, keep: bool
) -> dict[str, Any]:
    name, model = _names(platform)
    folder = demo_folder(platform.home, name)
    with narrator.stage(1, "Data, and the platform to work on"):
        story = make_story(folder / "data")
        narrator.say(
            f"{story.name}: the first version learns {len(story.base_intents)} intents; "
            f"{', '.join(story.new_intents)} will appear later"
        )
        demo = Demo(platform, story, narrator, name=name, model=model, seed=seed)
        demo.start()
    with narrator.stage(2, "Pipeline fine_tune: prepare, features, train, evaluate, register"):
        first = demo.train_first()
        narrator.say(_scores(first))
    with narrator.stage(3, "Serving"):
        demo.serve()
    with narrator.stage(4, "Traffic, labels later"):
        demo.send_calm()
    with narrator.stage(5, "Drift, alert, retraining"):
        drift = demo.drift()
        if drift.verdict != "drift":
            raise TidegateError(
                f"the traffic changed and the drift check says {drift.verdict}: {drift.reason}",
                next_step=f"See {drift.html_uri}.",
            )
        retrained = demo.retrain()
        narrator.say(_scores(retrained))
    with narrator.stage(6, "Canary of the retrained version"):
        promoted = demo.canary(retrained)
    with narrator.stage(7, "A bad version, let past the gate"):
        bad = demo.train_bad()
        narrator.say(_scores(bad))
        rolled_back = demo.rollback(bad)

    entries = demo.watcher.facts()
    routing = [e for e in entries if e.kind == "routing.published" and e.subject == name]
    moves = [e for e in entries if e.kind == "rollout.transition" and e.subject == name]
    asked = [e for e in entries if e.kind == "retrain.requested" and e.payload.get("deployment") == name]
    shown = sorted([*routing, *moves, *asked], key=lambda e: e.seq)
    picture = draw_timeline(shown, name, folder / "timeline.png")
    found = summary.facts(
        story=story.name,
        deployment=name,
        versions={"first": first, "retrained, promoted": retrained, "bad, rolled back": bad},
        rollouts={"retrained version": promoted, "bad version": rolled_back},
        drift=drift.model_dump(mode="json"),
        tally=demo.tally,
        stages=narrator.stages,
        routing=routing,
        seconds=narrator.seconds,
    )
    summary.write(folder / "summary.json", found)
    summary.show(narrator.console, found, demo.settings, picture, running=keep)
    if demo.tally.failed:
        raise TidegateError(
            f"{len(demo.tally.failed)} of {len(demo.tally.answers)} requests failed",
            next_step=f"See {folder / 'summary.json'} and the gateway's log.",
        )
    return found


def _scores(version: Any) -> str:
    report = version.report
    metric = report.metric("exact_match")
    verdict = "the gate passed it" if report.gate.passed else "the gate failed it, an override let it pass"
    text = f"version {version.version}: exact match {metric.value:.2f} on {metric.n} rows; {verdict}"
    return text if report.gate.passed else f"{text} ({'; '.join(report.gate.reasons)})"


def _names(platform: LocalPlatform) -> tuple[str, str]:
    """Names that no earlier demo under this state folder used; deployments of earlier ones are taken out of service."""
    settings = platform.settings
    url = settings.database_url
    platform.home.mkdir(parents=True, exist_ok=True)
    store = ResourceStore(Database.open(url), SystemClock())
    earlier = [0]
    for stored in store.list("ModelDeployment"):
        match = re.fullmatch(rf"{DEPLOYMENT}(?:-(\d+))?", stored.name)
        if match:
            earlier.append(int(match.group(1) or 1))
            if demo_folder(platform.home, stored.name).is_dir():  # else somebody applied it by that name
                store.delete("ModelDeployment", stored.name, actor="demo")
    for folder in (platform.home / "demo").glob(f"{DEPLOYMENT}*"):
        match = re.fullmatch(rf"{DEPLOYMENT}(?:-(\d+))?", folder.name)
        if match:
            earlier.append(int(match.group(1) or 1))
    number = max(earlier) + 1
    suffix = "" if number == 1 else f"-{number}"
    return DEPLOYMENT + suffix, MODEL + suffix
