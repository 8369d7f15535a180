"""Images in and out against the peers: pull, push, load, save and commit, in one run.

Everything is on this machine: Debian's docker-registry on loopback holds a Debian image of one layer
and one of 20 layers and 300 MB.  The contestants take turns; each begins a round without the image.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import statistics
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Final

from benchmarks.contestant import program
from benchmarks.scratch import BenchmarkError

_START: Final = "<!-- results of python -m benchmarks images -->"
_END: Final = "<!-- end of results of images -->"
_LAYERS: Final = 20
_LAYER_BYTES: Final = 15 << 20
_CHANGED: Final = 10_000

Samples = dict[str, dict[str, list[float]]]


class Bench:
    """The registry, the peers and the images of one run, below one directory."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        self.directory = directory
        self.registry = self._start_registry(stack)
        self.docker = self._start_docker(stack)
        self.podman = [
            *(program("podman"), "--root", f"{directory}/podman", "--runroot", f"{directory}/run"),
            *("--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--runtime", "runc"),
        ]
        self.samples: Samples = {}

    def _start_registry(self, stack: contextlib.ExitStack) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        config = self.directory / "registry.yml"
        config.write_text(
            f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '{address}'}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.directory}/registry}}}}\n"
        )
        self._serve(
            stack, [program("docker-registry"), "serve", str(config)], lambda: _open(address)
        )
        return address

    def _start_docker(self, stack: contextlib.ExitStack) -> list[str]:
        home = self.directory / "docker"
        home.mkdir()
        address = f"unix://{home}/socket"
        client = [program("docker"), "-H", address]
        command = [
            *(program("dockerd"), "--data-root", f"{home}/data", "--exec-root", f"{home}/exec"),
            *("--pidfile", f"{home}/pid", "-H", address, "--bridge", "none"),
            *("--iptables=false", "--ip6tables=false", "--ip-forward=false"),
        ]
        self._serve(stack, command, lambda: "Server" in _output([*client, "version"]))
        return client

    def _serve(
        self, stack: contextlib.ExitStack, command: list[str], ready: Callable[[], bool]
    ) -> None:
        log = stack.enter_context((self.directory / "servers.log").open("ab"))
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

        def end() -> None:
            server.terminate()
            server.wait(30)

        stack.callback(end)
        deadline = time.monotonic() + 60
        while not ready():
            if server.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError(f"{command[0]} does not serve; see {log.name}")
            time.sleep(0.1)

    def image(self, name: str) -> str:
        """Give an image's reference in the registry."""
        return f"{self.registry}/{name}:1"

    def time(self, what: str, who: str, work: Callable[[], object]) -> None:
        """Take one sample."""
        before = time.perf_counter()
        work()
        seconds = time.perf_counter() - before
        self.samples.setdefault(what, {}).setdefault(who, []).append(seconds)


def _open(address: str) -> bool:
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _run(*command: object) -> None:
    argv = [str(part) for part in command]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"{' '.join(argv[:6])}…: {done.stderr[-300:].strip()}")


def _make_images(bench: Bench) -> None:
    """Put the two images into the registry, through umoci and skopeo."""
    rootfs = bench.directory / "debian.tar"
    _run(program("mmdebstrap"), "--variant=minbase", "--quiet", "bookworm", rootfs)
    many = [_layer(number) for number in range(_LAYERS)]
    for name, layers in (("debian", [rootfs.read_bytes()]), ("many", many)):
        layout = bench.directory / name
        _run("umoci", "init", "--layout", layout)
        _run("umoci", "new", "--image", f"{layout}:1")
        for layer in layers:
            file = bench.directory / "layer.tar"
            file.write_bytes(layer)
            _run("umoci", "raw", "add-layer", "--image", f"{layout}:1", file)
            file.unlink()
        _run("skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", f"oci:{layout}:1",
             f"docker://{bench.image(name)}")  # fmt: skip


def _layer(number: int) -> bytes:
    """Make a layer of files that compress about as programs do."""
    chance = random.Random(number)
    words = [chance.randbytes(12) for _ in range(4000)]
    made = BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        folder = tarfile.TarInfo(f"layer{number}")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(folder)
        size, count = 0, 0
        while size < _LAYER_BYTES:
            length = min(int(chance.paretovariate(0.9) * 2000), 2 << 20)
            data = b"".join(chance.choices(words, k=length // 12 + 1))
            entry = tarfile.TarInfo(f"layer{number}/file{count}")
            entry.size = len(data)
            archive.addfile(entry, BytesIO(data))
            size, count = size + length, count + 1
    return made.getvalue()


def _pulls(bench: Bench, round_: int) -> None:
    import pycontainers as pc

    for name in ("debian", "many"):
        what, image = f"pull and unpack: {name}", bench.image(name)

        def ours(image: str = image) -> None:
            with pc.Engine(root=bench.directory / "ours") as engine:
                pc.Image.pull(image, engine=engine, progress=False)

        def skopeo(image: str = image) -> None:
            layout, bundle = bench.directory / "s", bench.directory / "b"
            _run("skopeo", "--insecure-policy", "copy", "--src-tls-verify=false",
                 f"docker://{image}", f"oci:{layout}:1")  # fmt: skip
            _run("umoci", "unpack", "--image", f"{layout}:1", bundle)

        contestants: dict[str, Callable[[], None]] = {
            "pycontainers": ours,
            "docker": lambda image=image: _run(*bench.docker, "pull", "-q", image),  # type: ignore[misc]
            "podman": lambda image=image: _run(
                *bench.podman, "pull", "-q", "--tls-verify=false", image
            ),  # type: ignore[misc]
            "skopeo + umoci": skopeo,
        }
        for who in _order(contestants, round_):
            _forget(bench)
            bench.time(what, who, contestants[who])


def _order(contestants: dict[str, Callable[[], None]], round_: int) -> list[str]:
    names = list(contestants)
    return names[round_ % len(names) :] + names[: round_ % len(names)]


def _forget(bench: Bench) -> None:
    for path in ("ours", "s", "b"):
        shutil.rmtree(bench.directory / path, ignore_errors=True)
    for command in (bench.docker, bench.podman):
        ids = _output([*command, "images", "-aq"]).split()
        if ids:
            _run(*command, "rmi", "-f", *dict.fromkeys(ids))
    os.sync()


def _moves(bench: Bench, round_: int) -> None:
    """Push, save and load the large image; each has it already."""
    import pycontainers as pc

    _forget(bench)
    image, target = bench.image("many"), f"{bench.registry}/pushed{round_}"
    saved = bench.directory / "saved.tar"
    _run(*bench.docker, "pull", "-q", image)
    _run(*bench.podman, "pull", "-q", "--tls-verify=false", image)
    with pc.Engine(root=bench.directory / "ours") as engine:
        own = pc.Image.pull(image, engine=engine, progress=False)
        bench.time("push", "pycontainers", lambda: own.push(f"{target}/a:1", progress=False))
        for who, command, more in (
            ("docker", bench.docker, []),
            ("podman", bench.podman, ["--tls-verify=false"]),
        ):
            _run(*command, "tag", image, f"{target}/{who}:1")
            push = [*command, "push", "-q", *more, f"{target}/{who}:1"]
            bench.time("push", who, lambda push=push: _run(*push))  # type: ignore[misc]
        for who, command in (("docker", bench.docker), ("podman", bench.podman)):
            saved.unlink(missing_ok=True)
            save = [*command, "save", "-o", saved, image]
            bench.time("save", who, lambda save=save: _run(*save))  # type: ignore[misc]
        saved.unlink()
        bench.time("save", "pycontainers", lambda: own.save(saved, format="docker", progress=False))
    _forget(bench)
    with pc.Engine(root=bench.directory / "ours") as engine:
        bench.time(
            "load", "pycontainers", lambda: pc.Image.load(saved, engine=engine, progress=False)
        )
    bench.time("load", "docker", lambda: _run(*bench.docker, "load", "-q", "-i", saved))
    bench.time("load", "podman", lambda: _run(*bench.podman, "load", "-q", "-i", saved))


def _commits(bench: Bench, round_: int) -> None:
    """Commit a container that has made 10,000 files."""
    import pycontainers as pc

    image = bench.image("debian")
    script = f"mkdir /made; for i in $(seq {_CHANGED}); do echo $i > /made/$i; done"
    _run(*bench.docker, "pull", "-q", image)
    _run(
        *bench.docker, "run", "--network", "none", "--name", f"c{round_}", image, "sh", "-c", script
    )
    bench.time(f"commit of {_CHANGED:,} files", "docker",
               lambda: _run(*bench.docker, "commit", f"c{round_}", f"committed:{round_}"))  # fmt: skip
    _run(*bench.docker, "rm", f"c{round_}")
    with pc.Engine(root=bench.directory / "ours") as engine:
        own = pc.Image.pull(image, engine=engine, progress=False)
        with pc.Container.run(own, ["sh", "-c", script], engine=engine) as container:
            container.wait(120)
            bench.time(f"commit of {_CHANGED:,} files", "pycontainers", container.commit)


def run(rounds: int) -> str:
    """Measure all; give the report in Markdown.  Raises BenchmarkError."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(_directory()))
        bench = Bench(directory, stack)
        _make_images(bench)
        for round_ in range(rounds):
            _pulls(bench, round_)
            _moves(bench, round_)
            _commits(bench, round_)
        _forget(bench)
        return _render(bench.samples)


@contextlib.contextmanager
def _directory() -> Iterator[str]:
    directory = tempfile.mkdtemp(prefix="pycontainers-images-")
    try:
        yield directory
    finally:
        with open("/proc/self/mounts") as lines:
            mounts = [line.split()[1] for line in lines if line.split()[1].startswith(directory)]
        for mount in reversed(mounts):
            subprocess.run(["umount", mount], check=False)
        shutil.rmtree(directory, ignore_errors=True)


def _render(samples: Samples) -> str:
    lines = [
        "| | contestant | runs | median, s | × pycontainers |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for what, times in samples.items():
        own = statistics.median(times["pycontainers"])
        for who, values in sorted(times.items(), key=lambda item: statistics.median(item[1])):
            middle = statistics.median(values)
            lines.append(f"| {what} | {who} | {len(values)} | {middle:.2f} | {middle / own:.2f} |")
    return "\n".join(lines)


def write_into(path: Path, report: str) -> None:
    """Put the report between the markers of a page."""
    head, _, rest = path.read_text().partition(_START)
    _, _, tail = rest.partition(_END)
    path.write_text(f"{head}{_START}\n\n{report}\n\n{_END}{tail}")
