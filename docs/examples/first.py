"""A first container: what a program inside sees, and what it can't."""

import sys

import pycontainers as pc

INSIDE = """
import ctypes, os, socket, urllib.request

def attempt(what, act):
    try:
        act()
        print(f"  {what:42} allowed")
    except Exception as error:
        print(f"  {what:42} refused: {error}")

status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
print("what it sees")
print(f"  processes     {sorted(int(n) for n in os.listdir('/proc') if n.isdigit())}")
print(f"  user ids      inside 0 is outside {open('/proc/self/uid_map').read().split()[1]}")
print(f"  interfaces    {[name for _, name in socket.if_nameindex()]}")
print(f"  capabilities  {bin(int(status['CapEff'], 16)).count('1')} of 41")
print(f"  seccomp       {'a filter is loaded' if status['Seccomp'].strip() == '2' else 'none'}")
print(f"  environment   {sorted(os.environ)}")
print("what it can and can't")
attempt("write a file of its own", lambda: open("/tmp/note", "w").write("hello"))
attempt("change the machine's programs", lambda: open("/usr/bin/env", "w"))
attempt("read the host's password hashes", lambda: open("/etc/shadow"))
attempt("look into the host's /var", lambda: os.listdir("/var/lib/dpkg"))
attempt("set a kernel parameter", lambda: open("/proc/sys/kernel/hostname", "w").write("x"))
attempt("reach the network", lambda: socket.create_connection(("192.0.2.1", 80), timeout=1))
"""

print(f"pycontainers {pc.__version__} on Python {sys.version.split()[0]}\n")
result = pc.run(["python3", "-c", INSIDE], memory="256m", timeout=30, check=True)
print(result.stdout)
usage = result.usage
print(f"{result!r}: {usage.wall * 1000:.0f} ms, at most {usage.memory_peak or 0 >> 20} bytes, gone")
