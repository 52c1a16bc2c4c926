"""All workloads by name."""

from . import workloads_connections, workloads_modes, workloads_sets, workloads_soak
from .workloads import WORKLOADS

__all__ = ["WORKLOADS", "workloads_connections", "workloads_modes", "workloads_sets", "workloads_soak"]
