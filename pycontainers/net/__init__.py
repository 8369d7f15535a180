"""Networks of containers: their addresses, bridges and firewall, and the ports they publish.

Code here acts on the network namespace of the process that calls it.
"""
