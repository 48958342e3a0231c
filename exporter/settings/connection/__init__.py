"""Connection parameters: DSNs, service files, the files that libpq reads."""
