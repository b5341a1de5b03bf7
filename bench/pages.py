# SPDX-License-Identifier: GPL-2.0-or-later
"""Images that are compared must stand alike in the host's cache."""
import os


def in_single_pages(path):
    """The host's cache holds the file page by page: what was written or read in large pieces
    is kept in large pieces, and small writes into those take the host longer."""
    fd = os.open(path, os.O_RDWR)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        for at in range(0, os.fstat(fd).st_size, 4096):
            os.pread(fd, 1, at)
    finally:
        os.close(fd)
