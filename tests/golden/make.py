#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Makes the golden recordings anew from real runs (root; see scenes.py), and what they have to give.

make.py [NAME…]          plays these scenes, or all of them, and writes recordings/ and expected/
make.py --expected       writes expected/ alone, from the recordings that there are

A commit that changes expected/ explains each field that changed. verdicts.py is written by people alone: what a scene
has to give is said there, line by line.
"""
import argparse
import json
import subprocess
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "kernel")]

import golden  # noqa: E402
import told  # noqa: E402

ROOT = HERE.parent.parent
AT_ONCE = 3
making_stage = threading.Lock()


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--expected", action="store_true", help="only what the recordings have to give")
    parser.add_argument("--closewatch", type=Path, default=ROOT / "build/closewatch", metavar="PATH")
    settings = parser.parse_args()
    settings.closewatch = settings.closewatch.resolve()
    settings.programs = settings.closewatch.parent / "tests/programs"
    settings.rewrite = settings.closewatch.parent / "tests/golden/rewrite"
    settings.keep = False
    return settings


def lines_of(settings, path):
    shown = {view: golden.replayed(settings.closewatch, path, view) for view in ("trace.json", "report.json")}
    events = [json.loads(line) for line in shown["trace.json"].splitlines()]
    report = json.loads(shown["report.json"])
    return [event.get("seq") for event in events], told.of_trace(events), told.of_report(report)


def made(scene, settings):
    """Plays a scene; why it could not be made, empty where it was."""
    import scenes
    from harness import Stage
    if scene.needs and not Path(scene.needs).exists():
        return f"this kernel has no {scene.needs}"
    with making_stage:
        stage = Stage(settings)
    try:
        raw = stage.folder / "raw"
        raw.write_bytes(scenes.record(scene, stage))
        # Longest first: a folder may be below another.
        names = [(str(settings.programs), "/opt/golden"), (str(HERE.parent / "programs"), "/opt/golden"),
                 *((netns.path, f"/run/netns/golden{label}") for label, netns in stage.netns.items()),
                 (str(stage.folder), "/tmp/golden"), (str(ROOT), "/opt/golden")]
        words = [word for pair in names for word in pair] + ["--netns", str(stage.netns[""].inum)]
        subprocess.run([settings.rewrite, raw, golden.recording(scene.name), *words], check=True)
        same = lines_of(settings, raw) == lines_of(settings, golden.recording(scene.name))
        return "" if same else "something else is told without the machine's names"
    except Exception:  # the others are made all the same
        return traceback.format_exc()
    finally:
        stage.close(False)


def play_scenes(settings):
    import scenes
    chosen = [scene for scene in scenes.SCENES if not settings.names or scene.name in settings.names]
    strange = set(settings.names) - {scene.name for scene in chosen}
    if strange:
        sys.exit(f"no such scene: {', '.join(sorted(strange))}")
    golden.RECORDINGS.mkdir(exist_ok=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(lambda scene: made(scene, settings), chosen))
    for scene, problem in zip(chosen, results):
        print(f"{scene.name}: {problem or 'made'}", flush=True)
    return not any(results)


def main():
    settings = parse_arguments()
    if not settings.expected and not play_scenes(settings):
        return 1
    golden.EXPECTED.mkdir(exist_ok=True)
    for name in settings.names or golden.names():
        for view in golden.VIEWS:
            golden.expected(name, view).write_bytes(golden.replayed(settings.closewatch, golden.recording(name), view))
    return 0


sys.exit(main())
