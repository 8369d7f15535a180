"""What the building benchmark builds: Dockerfiles with their contexts, new ones for every round."""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

SMALL: Final = "localhost/small:1"  # busybox
PYTHON: Final = "localhost/python:1"  # Debian with pip
MADE: Final = "localhost/made:1"
_PACKAGES: Final = 20
_MODULES: Final = 25  # in each
_BYTES: Final = 4096  # of a copied file at most

_STAGES: Final = f"""\
FROM {SMALL} AS one
RUN sleep 1 && echo {{number}} > /one
FROM {SMALL} AS two
RUN sleep 1 && echo {{number}} > /two
FROM {SMALL}
COPY --from=one /one /
COPY --from=two /two /
"""
_PIP: Final = f"""\
FROM {PYTHON} AS build
WORKDIR /src
COPY wheels wheels
RUN pip3 install --quiet --no-index --find-links=wheels --target=/app --no-cache-dir app
FROM {PYTHON}
COPY --from=build /app /app
ENV PYTHONPATH=/app
RUN python3 -m app
"""


def nothing(path: Path, number: int) -> Path:
    """Make a context whose build runs nothing."""
    return _context(path, f"FROM {SMALL}\nLABEL round={number}\n")


def runs(path: Path, steps: int, number: int) -> Path:
    """Make one with so many RUN steps of `true`, which `number` makes others than before."""
    lines = [f"RUN true {number} {step}\n" for step in range(steps)]
    return _context(path, f"FROM {SMALL}\n{''.join(lines)}")


def copies(path: Path, files: int) -> Path:
    """Make one with so many files of up to 4 KiB in directories of a hundred, all copied."""
    context = _context(path, f"FROM {SMALL}\nCOPY files /files\n")
    for number in range(files):
        folder = context / "files" / str(number // 100)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(number)).write_bytes(os.urandom(number * 37 % _BYTES))
    return context


def check(path: Path, files: int) -> Path:
    """Make one whose build fails where the image made last has not so many files."""
    count = "busybox find /files -type f | busybox wc -l"
    return _context(path, f'FROM {MADE}\nRUN busybox test "$({count})" = {files}\n')


def stages(path: Path, number: int) -> Path:
    """Make one with two stages that need nothing of each other."""
    return _context(path, _STAGES.format(number=number))


def pip(path: Path, number: int) -> Path:
    """Make one that installs packages from wheels in one stage, and uses them in another."""
    context = _context(path, _PIP)
    wheels = context / "wheels"
    wheels.mkdir()
    names = [f"package{package}" for package in range(_PACKAGES)]
    for name in names:
        code = {f"{name}/module{module}.py": _module(number) for module in range(_MODULES)}
        _wheel(wheels, name, number, {f"{name}/__init__.py": "", **code}, [])
    imports = "".join(f"import {name}.module0\n" for name in names)
    _wheel(wheels, "app", number, {"app/__init__.py": "", "app/__main__.py": imports}, names)
    return context


def _context(path: Path, dockerfile: str) -> Path:
    path.mkdir()
    (path / "Dockerfile").write_text(dockerfile)
    return path


def _module(number: int) -> str:
    """Give a module's code, about 4 KB."""
    return "".join(
        f"def function{each}(first, second={number}):\n"
        f'    """Add {each} to both."""\n'
        f"    return [first + {each}, second + {each}]\n\n\n"
        for each in range(35)
    )


def _wheel(
    folder: Path, name: str, number: int, files: dict[str, str], requires: list[str]
) -> None:
    """Write a wheel as its specification has it, with the digests of its files."""
    info = f"{name}-{number}.dist-info"
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(_record(path, text.encode()) for path, text in files.items())
    with zipfile.ZipFile(folder / f"{name}-{number}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
        wheel.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")


def _record(path: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(data)}\n"
