"""What a plugin must hold to, as tests to inherit: ``FlavorSuite`` and ``SourceSuite``. They need pytest."""

from .flavors import FlavorSuite
from .sources import SourceSuite

__all__ = ["FlavorSuite", "SourceSuite"]
