"""What every measuring program does around its measurement: its options, its exit codes, the files it leaves.

Exits 0; 1 when an answer was wrong or missing, because then the figures are none; 3 when something could not be
started.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtests.instance import NotStarted

Found = dict[str, Any]


def options(doc: str | None) -> argparse.ArgumentParser:
    """A parser with what all of them take; ``doc`` is the program's own account of itself."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, usage="%(prog)s [options]"
    )
    parser.add_argument("--quick", action="store_true", help="tiny numbers: to see that it works, not to be quoted")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    return parser


def positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def run(
    measure: Callable[[argparse.Namespace], Found],
    chosen: argparse.Namespace,
    *,
    text: Callable[[Found], str],
    wrong: Callable[[Found], bool],
    plot: Callable[[Found], str] | None = None,
) -> int:
    """Measure, print ``text``, write what was asked for; the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    try:
        found = measure(chosen)
    except (NotStarted, OSError, subprocess.SubprocessError) as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        return 3
    print(text(found))
    if chosen.quick:
        print("a quick run: it works; neither its figures nor its verdicts mean anything")
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    if plot is not None and chosen.plot:
        chosen.plot.write_text(plot(found))
    return 1 if wrong(found) else 0
