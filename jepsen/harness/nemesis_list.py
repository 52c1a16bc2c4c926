"""All nemeses by name."""

from . import nemesis_clients
from .nemesis import NEMESES

__all__ = ["NEMESES", "nemesis_clients"]
