"""Memory that was freed goes back to the system: Python and glibc keep hundreds of MB after images were drawn."""

import ctypes
import gc

__all__ = ["give_back"]


def give_back() -> None:
    """Collect what only refers to itself, and return what has been freed to the system, where its library is glibc."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
