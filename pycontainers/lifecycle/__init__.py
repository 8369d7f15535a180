"""What was asked, what is done, what is (the OCI runtime spec's word for a container's course).

`options` checks what the user asked for, `bundle` and `compile` turn it into a runtime spec and a
plan, `launch` has the launcher carry it out, `recovery` takes away what a crash left over.
"""
