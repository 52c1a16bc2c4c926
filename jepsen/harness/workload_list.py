"""All workloads by name."""

from .workloads import WORKLOADS

__all__ = ["WORKLOADS"]
