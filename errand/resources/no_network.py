"""Forbids a process to open sockets, start programs and look into others, for ever: a seccomp filter (Linux).

It decodes bytes that strangers have sent. Code that gets in by way of a decoder's fault finds no way out.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2

ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | errno.EPERM
KILL = 0x80000000
"""What a filter returns (linux/seccomp.h)."""

LOAD, JUMP_IF_EQUAL, JUMP_IF_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
"""The four instructions that are needed (linux/bpf_common.h)."""

NUMBER_AT, ARCHITECTURE_AT = 0, 4
"""Where they stand in `struct seccomp_data`."""

X32_CALLS = 0x40000000
"""From here on the calls of another ABI begin on x86-64, which no Python uses."""

CALLS: dict[str, tuple[int, tuple[int, ...]]] = {
    # socket connect accept sendto bind listen socketpair, execve, ptrace, accept4, process_vm_readv, …_writev,
    # execveat, io_uring_setup, pidfd_getfd
    "x86_64": (0xC000003E, (41, 42, 43, 44, 49, 50, 53, 59, 101, 288, 310, 311, 322, 425, 438)),
    "aarch64": (0xC00000B7, (198, 203, 202, 206, 200, 201, 199, 221, 117, 242, 270, 271, 281, 425, 438)),
}
"""By machine: its name for the kernel, and the numbers of the calls that are refused."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def forbid() -> bool:
    """True if the kernel has taken the filter; False where there is no seccomp, or no numbers are known."""
    if sys.platform != "linux" or platform.machine() not in CALLS:
        return False
    instructions = ctypes.create_string_buffer(_filter(*CALLS[platform.machine()]))
    length = (len(instructions) - 1) // 8
    program = _Program(length, ctypes.cast(instructions, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


def _filter(architecture: int, calls: tuple[int, ...]) -> bytes:
    """Refuses the calls with EPERM, and kills a process that calls by another architecture's numbers."""
    refuse_at = len(calls)
    return b"".join(
        [
            _instruction(LOAD, ARCHITECTURE_AT),
            _instruction(JUMP_IF_EQUAL, architecture, if_true=1),
            _instruction(RETURN, KILL),
            _instruction(LOAD, NUMBER_AT),
            _instruction(JUMP_IF_AT_LEAST, X32_CALLS, if_true=refuse_at + 1),
            *(_instruction(JUMP_IF_EQUAL, call, if_true=refuse_at - number) for number, call in enumerate(calls)),
            _instruction(RETURN, ALLOW),
            _instruction(RETURN, REFUSE),
        ]
    )


def _instruction(code: int, value: int, *, if_true: int = 0) -> bytes:
    """One `struct sock_filter`; a jump counts the instructions that it leaves out."""
    return struct.pack("=HBBI", code, if_true, 0, value)
