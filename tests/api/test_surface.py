"""The package's face: names, documents, floors, sizes, and what importing does."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pycontainers as pc

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "pycontainers").rglob("*.py"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("name", pc.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(pc, name)

    assert isinstance(value, int) or value.__doc__
    assert re.search(rf"`{name}\b", (ROOT / "docs/names.md").read_text())


def test_importing_does_nothing_and_loads_little() -> None:
    program = (
        "import sys, os, threading; before = os.listdir('/proc/self/fd'); import pycontainers;"
        "assert not {'attr', 'attrs', 'cattrs', 'sqlite3', 'ctypes', 'json'} & set(sys.modules);"
        "assert threading.active_count() == 1; assert os.listdir('/proc/self/fd') == before"
    )

    subprocess.run([sys.executable, "-I", "-c", program], cwd="/", check=True, timeout=60)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_files_and_functions_stay_readable(path: Path) -> None:
    text = path.read_text()
    long = [
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 90
    ]

    assert text.count("\n") <= 480
    assert long == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_of_the_documents_run(page: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    environment = {"PATH": "/usr/bin:/bin", "PYCONTAINERS_ROOT": str(tmp_path / "root")}

    for program in [*blocks] if page.name == "kernel.md" else ["\n".join(blocks)]:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_the_first_program_shows_what_it_promises(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs/examples/first.py"],
        env={"PATH": "/usr/bin:/bin", "PYCONTAINERS_ROOT": str(tmp_path / "root")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "capabilities  11 of 41" in done.stdout
    assert done.stdout.count("refused") == 5


def test_the_doctor_finds_this_machine_fit() -> None:
    report = pc.doctor()

    assert report.ok, str(report)
    assert {"cgroups", "idmapped mounts", "a container"} <= {finding.name for finding in report}
    assert all(finding.fix for finding in report if not finding.ok)
    assert "<table>" in report._repr_html_()


def test_the_doctor_names_the_cause_and_the_fix() -> None:
    program = (
        "import pycontainers as pc; from pycontainers.kernel import capabilities;"
        "capabilities.drop_bounding(0); capabilities.apply(0, 0, 0, 0); report = pc.doctor();"
        "found = {one.name: one for one in report}; print(report);"
        "assert not report.ok;"
        "assert 'CAP_SYS_ADMIN' in found['rights'].detail and 'root' in found['rights'].fix;"
        "assert all(not found[name].ok and found[name].fix for name in"
        " ('id maps', 'proc', 'detached mounts', 'idmapped mounts', 'overlay', 'a container'))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
