"""All nemeses by name."""

from . import nemesis_clients, nemesis_root
from .nemesis import NEMESES

NEEDS_ROOT = ("packets", "power", "disk", "clock", "rate")

__all__ = ["NEMESES", "NEEDS_ROOT", "nemesis_clients", "nemesis_root"]
