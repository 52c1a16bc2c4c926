"""The parts of jepsen/run; jepsen/README.md names them. Python's standard library only."""
