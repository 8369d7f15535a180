"""Building images from Dockerfiles.

`parse` reads a Dockerfile into the instructions of `instructions`, `expand` and `scope` put in the
values of variables, and `checks` warns of what is allowed and unwise: pure code, that touches no
file.
"""
