"""Script that converts a model's file to one of Pellucid within limits: `python -m pellucid.studio.open_file SETTINGS`.

SETTINGS is a JSON object with the arguments of `main`. The operating system ends the process above the limits.
"""

import json
import sys

from pellucid.base.child import OUT_OF_MEMORY
from pellucid.base.errors import PellucidError
from pellucid.command.models import open_network

# In the errors of PyTorch's allocator, of the system, and of a library that cannot be loaded
OUT_OF_MEMORY_WORDS = ("alloc", "memory", "failed to map segment")


def main(source: str, target: str, seconds: int, memory: int) -> None:
    """Open a file, and write its model.

    source, target: paths. seconds: of processor time; memory: bytes of address space.
    """
    if sys.platform != "win32":  # elsewhere, only the caller's time limit holds
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    open_network(source).save(target)


if __name__ == "__main__":
    try:
        main(**json.loads(sys.argv[1]))
    except PellucidError as error:
        sys.exit(str(error))
    except (MemoryError, ImportError, RuntimeError, OSError) as error:
        is_limit = isinstance(error, MemoryError) or any(word in str(error) for word in OUT_OF_MEMORY_WORDS)
        if is_limit:
            sys.exit(OUT_OF_MEMORY)
        raise
