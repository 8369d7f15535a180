"""The helper processes: the plan that they are given, and who carries it out.

`plan` says what can be asked; `launcher` is the fork server; `init` is a container between clone3
and execve; `rootfs` is its view of files; `worker` is a fork jailed in one directory.  Standard
library only.  The engine's side imports nothing of this room but `plan`.
"""
