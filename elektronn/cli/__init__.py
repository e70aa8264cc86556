"""The door: arguments, signals, exit codes, progress."""
