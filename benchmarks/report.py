"""The report: tables of a run's results in Markdown, and what became of each target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.floor import WHOLE
from benchmarks.measure import TIMES, median, percentile95

if TYPE_CHECKING:
    from benchmarks.measure import Results

_US: Final = "pycontainers"


class Target(NamedTuple):
    """A promise, what was measured (None: not in this run), and whether that keeps it."""

    promise: str
    measured: str | None
    holds: bool


def render(results: Results) -> str:
    """Give the whole report in Markdown."""
    versions = ", ".join(results.versions.values())
    parts = [
        f"{results.date}, {results.machine}; {versions}.",
        *results.notes,
        "### A container that runs `/bin/true`, from nothing to nothing",
        _times(results.launch, base=WHOLE),
        "### `/bin/true` executed in a running container",
        _times(results.execute, base=None),
        "### Containers a second",
        _rates(results),
    ]
    if results.memory:
        parts += ["### Memory and import", _costs(results)]
    parts += ["### Targets", _targets_table(results)]
    return "\n\n".join(parts)


def targets(results: Results) -> list[Target]:
    """Judge each target."""
    return [
        _ratio_target(results, f"at most 2.0 {TIMES} the C floor", WHOLE, 2.0),
        _ratio_target(results, "faster than bubblewrap's `--unshare-all`", "bubblewrap", 1.0),
        _ratio_target(results, "at most 1/5 of runc", "runc", 0.2),
        _throughput_target(results),
        _memory_target(results),
        _import_target(results),
    ]


def _ratio_target(results: Results, promise: str, other: str, limit: float) -> Target:
    if _US not in results.launch or other not in results.launch:
        return Target(promise, None, False)
    ratio = median(results.launch[_US]) / median(results.launch[other])
    return Target(promise, f"{ratio:.2f} {TIMES}", ratio <= limit)


def _throughput_target(results: Results) -> Target:
    promise = "at least 300 containers a second"
    if _US not in results.throughput:
        return Target(promise, None, False)
    threads, best = max(results.throughput[_US].items(), key=lambda item: item[1])
    return Target(promise, f"{best:.0f} with {threads} threads", best >= 300)


def _memory_target(results: Results) -> Target:
    promise = "at most 1 MB of PSS for an idle container beyond its workload"
    if not results.memory:
        return Target(promise, None, False)
    kibibytes = _per_container(results)
    return Target(promise, f"{kibibytes:.0f} KiB", kibibytes * 1024 <= 1_000_000)


def _import_target(results: Results) -> Target:
    promise = "`import pycontainers` in at most 50 ms more than the bare interpreter"
    if not results.imports:
        return Target(promise, None, False)
    bare, imported, used = (median(samples) * 1000 for samples in results.imports.values())
    measured = f"{imported - bare:.1f} ms; with `run` named {used - bare:.1f} ms"
    return Target(promise, measured, imported - bare <= 50)


def _per_container(results: Results) -> float:
    """Give KiB; the larger of two figures, as strangers' use of our files lowers the PSS."""
    memory = results.memory
    grown = max(memory["after"] - memory["before"], memory["own_after"] - memory["own_before"])
    return grown / memory["containers"]


def _table(head: list[str], rows: list[list[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])


def _times(samples: dict[str, list[float]], *, base: str | None) -> str:
    head = ["", "runs", "median, ms", "95th percentile, ms"]
    bases = [name for name in (base, _US) if name in samples]
    head += [f"{TIMES} {name}" for name in bases]
    rows = []
    for name, values in samples.items():
        row = [name, str(len(values)), _ms(median(values)), _ms(percentile95(values))]
        row += [f"{median(values) / median(samples[other]):.2f}" for other in bases]
        rows.append(row)
    return _table(head, rows)


def _rates(results: Results) -> str:
    counts = sorted({count for rates in results.throughput.values() for count in rates})
    head = ["", *(f"{count} thread{'s' if count > 1 else ''}" for count in counts)]
    rows = [
        [name, *(f"{rates[count]:.0f}" for count in counts)]
        for name, rates in results.throughput.items()
    ]
    return _table(head, rows)


def _costs(results: Results) -> str:
    count = results.memory["containers"]
    rows = [
        ["application and engine, no container", f"{results.memory['before']} KiB"],
        [f"each of {count} idle containers more", f"{_per_container(results):.0f} KiB"],
    ]
    bare = median(results.imports["bare interpreter"])
    for name, values in results.imports.items():
        rows.append([name, f"{_ms(median(values))} ms (+{_ms(median(values) - bare)})"])
    return _table(["", "median"], rows)


def _targets_table(results: Results) -> str:
    rows = []
    for promise, measured, holds in targets(results):
        if measured is None:
            rows.append([promise, "not measured in this run", ""])
        else:
            rows.append([promise, measured, "holds" if holds else "**missed**"])
    return _table(["target", "measured", ""], rows)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f}"
