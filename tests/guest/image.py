"""The guest's disk: Debian 12 with systemd, two kernels, Python, and what starts the command.

Built once, and kept below ~/.cache/pycontainers-guest.
"""

from __future__ import annotations

import shutil
import sys
import tomllib
from pathlib import Path
from typing import Final

from tests import debian

REPOSITORY: Final = Path(__file__).parents[2]
KERNELS: Final = {"6.1": "linux-image-cloud-amd64", "6.12": "linux-image-6.12-cloud-amd64"}
_PACKAGES: Final = (
    *("systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "udev", "kmod"),
    *("python3", "libseccomp2", "busybox-static", "iproute2", "mount", "procps", "uidmap"),
    *KERNELS.values(),
)
_SIZE: Final = "3G"

# The second disk holds a tar of `mode`, `command` and the repository; in the end it is overwritten
# by a tar of what came out of the command.
_JOB: Final = """\
#!/bin/sh
modprobe virtio_pci && modprobe virtio_blk
while ! [ -b /dev/vda ]; do sleep 0.05; done
mkdir /job && tar -xf /dev/vda -C /job
cd /job
case $(cat mode) in
    root | bare)
        bash command >out 2>err </dev/null ;;
    user)
        mkdir -p /run/systemd/system/user@.service.d
        printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' \\
            >/run/systemd/system/user@.service.d/delegate.conf
        systemctl daemon-reload
        systemctl start user@1000
        chown -R user: /job
        su -l user -c 'exec systemd-run --user --scope --quiet -p Delegate=yes bash /job/command' \\
            >out 2>err </dev/null ;;
    login)
        systemctl start user@1000
        chown -R user: /job
        su -l user -c 'exec bash /job/command' >out 2>err </dev/null ;;
esac
echo $? >status
tar -cf - out err status | dd of=/dev/vda bs=64k conv=fsync,notrunc status=none
echo o >/proc/sysrq-trigger
sleep 60
"""
_SERVICE: Final = """\
[Unit]
After=multi-user.target
[Service]
Delegate=yes
ExecStart=/usr/local/sbin/guest-job
"""
# Instead of systemd: the first process of a machine whose cgroups nobody manages.
_BARE: Final = """\
#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
/usr/local/sbin/guest-job
"""


def image() -> Path:
    """Give the directory of the guest's disk and kernels; build it where it is not there yet."""
    parts = [_PACKAGES, _requirements(), _JOB, _SERVICE, _BARE, _SIZE]
    return debian.cached("pycontainers-guest", parts, _build)


def _requirements() -> list[str]:
    """Give what the library itself depends on, and pytest."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], "pytest"]


def _build(target: Path) -> None:
    root = target / "root"
    # Both kernels have the drivers of disk and file system built in.
    debian.bookworm(root, _PACKAGES, INITRD="No")
    packages = root / "usr/local/lib/python3.11/dist-packages"
    debian.call(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(packages)),
        *("--python-version", "3.11", "--only-binary", ":all:", *_requirements()),
    )
    debian.call("chroot", str(root), "useradd", "--create-home", "--shell", "/bin/bash", "user")
    (root / "etc/fstab").write_text("")
    (root / "etc/hostname").write_text("guest\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost guest\n")
    units = root / "etc/systemd/system"
    (units / "guest-job.service").write_text(_SERVICE)
    wants = units / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "guest-job.service").symlink_to("../guest-job.service")
    for name, text in (("guest-job", _JOB), ("guest-bare", _BARE)):
        program = root / "usr/local/sbin" / name
        program.write_text(text)
        program.chmod(0o755)
    for version in KERNELS:
        (kernel,) = root.glob(f"boot/vmlinuz-{version}.*")
        shutil.copyfile(kernel, target / f"kernel-{version}")
    disk = str(target / "disk")
    debian.call("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", str(root), disk, _SIZE)
    shutil.rmtree(root)
