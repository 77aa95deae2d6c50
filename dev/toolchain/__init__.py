"""The programs of the throwaway world: found on the machine in a fit version, or built once into the cache.

`Toolchain().path("helm")` is all that others need; catalog.py says which programs there are and what fits.
"""

from dev.toolchain.cache import Cache, cache_directory
from dev.toolchain.catalog import PROGRAMS, Program
from dev.toolchain.errors import ToolError
from dev.toolchain.toolchain import Found, Toolchain

__all__ = ["PROGRAMS", "Cache", "Found", "Program", "ToolError", "Toolchain", "cache_directory"]
