"""What the program is told, and the servers that it means.

Its modules are imported one by one: that of the model brings pydantic along, which is a sixth of a sidecar's
memory, and whoever has the settings read elsewhere (`apart`) does not need it.
"""
