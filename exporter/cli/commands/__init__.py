"""What each command does: a function from parsed flags to an exit code, loaded when the command runs."""
