"""The command line: Docker's words and flags over the public API, for a shell.

`main` finds the command and tells of errors, each other file has the commands of one matter, but
for `flags` (options as a shell writes them), `tables` (what lists print) and `terminal` (between
the user's terminal and a program's streams).  Nothing heavy is loaded before a command needs it.
"""
