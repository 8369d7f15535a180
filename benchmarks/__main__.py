"""The command line of the benchmarks: `python -m benchmarks launch`, images, life and more."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks import images, launch, report
from benchmarks.scratch import BenchmarkError

_PAGE = Path(__file__).with_name("README.md")


def main() -> int:
    """Measure, print the report, and keep it where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("launch", help="start, exec, throughput, memory; with the peers")
    command.add_argument("--runs", type=int, metavar="N", help="rounds of each measurement")
    command.add_argument("--quick", action="store_true", help="a tenth of the time")
    command.add_argument("--peers-only", action="store_true", help="leave pycontainers out")
    command.add_argument("--json", type=Path, metavar="FILE", help="keep every sample")
    command.add_argument("--write", action="store_true", help="put the report into README.md")
    command.set_defaults(measure=_launch)
    command = commands.add_parser("images", help="pull, push, load, save, commit; with the peers")
    command.add_argument("--rounds", type=int, default=5, metavar="N", help="of everything")
    command.add_argument("--write", action="store_true", help="put the report into README.md")
    command.set_defaults(measure=_images)
    command = commands.add_parser("life", help="exec, logs, copies, lists; with docker and podman")
    command.add_argument("--quick", action="store_true", help="a tenth of the time")
    command.add_argument("--write", action="store_true", help="put the report into README.md")
    command.set_defaults(measure=_life)
    command = commands.add_parser("volumes", help="the first use; with docker and podman")
    command.add_argument("--quick", action="store_true", help="a tenth of the files")
    command.add_argument("--write", action="store_true", help="put the report into README.md")
    command.set_defaults(measure=_volumes)
    command = commands.add_parser("networks", help="starts, throughput; with docker and podman")
    command.add_argument("--quick", action="store_true", help="a tenth of everything")
    command.add_argument("--write", action="store_true", help="put the report into README.md")
    command.set_defaults(measure=_networks)
    command = commands.add_parser("building", help="Dockerfiles; with docker and buildah")
    command.add_argument("--quick", action="store_true", help="a tenth of the files, few rounds")
    command.add_argument("--write", action="store_true", help="put the report into README.md")
    command.set_defaults(measure=_building)
    options = parser.parse_args()
    try:
        options.measure(options)
    except BenchmarkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("benchmarks: interrupted; all that was made is removed", file=sys.stderr)
        return 130
    return 0


def _images(options: argparse.Namespace) -> None:
    text = images.run(options.rounds)
    print(text)
    if options.write:
        images.write_into(_PAGE, text)


def _life(options: argparse.Namespace) -> None:
    # Imported when asked for: the peers are measured alone where the engine fails.
    from benchmarks import life

    text = life.run(quick=options.quick)
    print(text)
    if options.write:
        life.write_into(_PAGE, text)


def _volumes(options: argparse.Namespace) -> None:
    from benchmarks import volumes

    text = volumes.run(quick=options.quick)
    print(text)
    if options.write:
        volumes.write_into(_PAGE, text)


def _networks(options: argparse.Namespace) -> None:
    from benchmarks import networks

    text = networks.run(quick=options.quick)
    print(text)
    if options.write:
        networks.write_into(_PAGE, text)


def _building(options: argparse.Namespace) -> None:
    from benchmarks import building

    text = building.run(quick=options.quick)
    print(text)
    if options.write:
        building.write_into(_PAGE, text)


def _launch(options: argparse.Namespace) -> None:

    amount = launch.QUICK if options.quick else launch.FULL
    if options.runs is not None:
        amount = amount._replace(rounds=options.runs)
    results = launch.run(amount, peers_only=options.peers_only)
    text = report.render(results)
    print(text)
    if options.json is not None:
        options.json.write_text(json.dumps(asdict(results)))
    if options.write:
        report.write_into(_PAGE, text)


if __name__ == "__main__":
    sys.exit(main())
