"""The disk: where everything lies, the database beside it, and the directories of containers.

Every write is: temporary name, then rename; every row is there before the thing it tells of, and
goes after it, so that what a crash leaves behind can be found.
"""
