"""Files that are there as a whole, or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import time
import uuid
from pathlib import Path

ABANDONED_SECONDS = 3600.0  # no write takes this long: its process was killed in the middle


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that whoever looks finds the old file or the new one.

    The bytes go to a file of their own in the same folder, down to the disk, and then take the
    name over in one move, which the operating system does wholly or not at all. Several writers
    do not disturb each other: the last one stays. The folder is made when it is not there. A link
    is replaced, and what it led to stays.

    Raises:
        OSError: no space, no permission, ...; what was at `path` is untouched, nothing is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{path.name[:50]}."  # a name has 255 bytes at most, and this one gets longer
    for leftover in path.parent.glob(f"{glob.escape(prefix)}*.part"):
        with contextlib.suppress(OSError):  # another process may have been quicker
            if time.time() - leftover.stat().st_mtime > ABANDONED_SECONDS:
                leftover.unlink()
    partial = path.with_name(f"{prefix}{uuid.uuid4().hex}.part")
    try:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:  # says where, and by the name that the caller knows
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        partial.unlink(missing_ok=True)
