"""Settings: their model, their sources, and the targets they resolve to.

Import its modules one by one: `loading` and `sources` need pydantic, a sixth of a sidecar's memory, which the
process that serves never loads.
"""
