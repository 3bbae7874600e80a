"""Becomes a program in a root of its own, as an ordinary user: alone.py ROOT PROGRAM ARGUMENTS…

A root by pivot_root(2), as containers have it: the kernel gives no namespaces to a process in a chroot(2). Start it by
`unshare --user --map-root-user --mount --pid --fork`.
"""

import ctypes
import os
import subprocess
import sys

CLONE_NEWUSER, MNT_DETACH = 0x10000000, 2
libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> None:
    if getattr(libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), name)


root, *command = sys.argv[1:]
for folder in ["proc", "dev", "tmp"]:
    os.makedirs(f"{root}/{folder}", exist_ok=True)
for mount in [
    ["--bind", root, root],
    ["-t", "proc", "proc", f"{root}/proc"],
    ["--rbind", "/dev", f"{root}/dev"],
    ["-t", "tmpfs", "tmpfs", f"{root}/tmp"],
]:
    subprocess.run(["mount", *mount], check=True)
os.chdir(root)
subprocess.run(["pivot_root", ".", "."], check=True)
call("umount2", b".", MNT_DETACH)
os.chdir("/")

call("unshare", CLONE_NEWUSER)
for file, text in [("setgroups", "deny"), ("uid_map", "1000 0 1"), ("gid_map", "1000 0 1")]:
    with open(f"/proc/self/{file}", "w") as opened:
        opened.write(text)
os.execve(command[0], command, {"HOME": "/tmp"})
