"""The command line of the benchmarks: `python -m benchmarks launch`, images, life and more."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks import launch, report
from benchmarks.scratch import BenchmarkError

_PAGE: Final = Path(__file__).with_name("README.md")
_BENCHMARKS: Final = {
    "launch": "start, exec, throughput, memory; with the peers",
    "images": "pull, push, load, save, commit; with the peers",
    "life": "exec, logs, copies, lists; with docker and podman",
    "volumes": "the first use; with docker and podman",
    "networks": "starts, throughput; with docker and podman",
    "building": "Dockerfiles; with docker and buildah",
}


def main() -> int:
    """Measure, print the report, and keep it where asked."""
    options = _parser().parse_args()
    try:
        text = _measured(options)
        print(text)
        if options.write:
            _write(options.benchmark, text)
    except BenchmarkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("benchmarks: interrupted; all that was made is removed", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    commands = parser.add_subparsers(dest="benchmark", required=True)
    for name, text in _BENCHMARKS.items():
        command = commands.add_parser(name, help=text)
        command.add_argument("--write", action="store_true", help="put the report into README.md")
        if name == "images":
            command.add_argument("--rounds", type=int, default=5, metavar="N", help="of everything")
        else:
            command.add_argument("--quick", action="store_true", help="a tenth of it all")
        if name == "launch":
            command.add_argument("--runs", type=int, metavar="N", help="rounds of each measurement")
            command.add_argument("--peers-only", action="store_true", help="leave pycontainers out")
            command.add_argument("--json", type=Path, metavar="FILE", help="keep every sample")
    return parser


def _measured(options: argparse.Namespace) -> str:
    if options.benchmark == "launch":
        return _launched(options)
    # Imported when asked for: the peers are measured alone where the engine fails.
    benchmark = importlib.import_module(f"benchmarks.{options.benchmark}")
    text: str = (
        benchmark.run(options.rounds)
        if options.benchmark == "images"
        else benchmark.run(quick=options.quick)
    )
    return text


def _launched(options: argparse.Namespace) -> str:
    amount = launch.QUICK if options.quick else launch.FULL
    if options.runs is not None:
        amount = amount._replace(rounds=options.runs)
    results = launch.run(amount, peers_only=options.peers_only)
    if options.json is not None:
        options.json.write_text(json.dumps(asdict(results)))
    return report.render(results)


def _write(benchmark: str, text: str) -> None:
    """Put a report between its markers on the page, in place of the last one."""
    start = f"<!-- results of python -m benchmarks {benchmark} -->"
    end = f"<!-- end of results of {benchmark} -->"
    head, _, rest = _PAGE.read_text().partition(start)
    _, _, tail = rest.partition(end)
    _PAGE.write_text(f"{head}{start}\n\n{text}\n\n{end}{tail}")


if __name__ == "__main__":
    sys.exit(main())
