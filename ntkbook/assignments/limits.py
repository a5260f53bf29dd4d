"""How much a submission may use."""

from __future__ import annotations

from dataclasses import dataclass

from ntkbook._validation import check_count, check_positive


@dataclass(frozen=True)
class Limits:
    """Bounds on a submission's process.

    Parameters
    ----------
    cell_seconds : float
        For one cell.
    call_seconds : float
        For one call of an answer.
    total_seconds : float
        For the whole submission, all restarts included; also the processor time of one process.
    memory_bytes : int
        Address space beyond what Python and torch take when they are loaded (not on macOS).
    file_bytes : int
        Size of a file that it writes, its printed output included.
    restarts : int
        How often the process is started again after it died.
    """

    cell_seconds: float = 60.0
    call_seconds: float = 20.0
    total_seconds: float = 600.0
    memory_bytes: int = 4 << 30
    file_bytes: int = 100 << 20
    restarts: int = 5

    def __post_init__(self) -> None:
        """Refuse bounds that are none.

        Raises
        ------
        TypeError, ValueError
            Naming the bound.
        """
        for name in ("cell_seconds", "call_seconds", "total_seconds"):
            check_positive(name, getattr(self, name))
        check_count("memory_bytes", self.memory_bytes)
        check_count("file_bytes", self.file_bytes)
        check_count("restarts", self.restarts, 0)


def limit_this_process(limits: Limits) -> None:
    """Bind this process and those that it starts to the limits, for good."""
    import resource

    seconds = int(limits.total_seconds) + 1
    wanted = {resource.RLIMIT_FSIZE: limits.file_bytes, resource.RLIMIT_CORE: 0}
    used = _address_space()
    if used:  # without /proc the size of torch's libraries is unknown, and so is what would be left
        wanted[resource.RLIMIT_AS] = used + limits.memory_bytes
    for kind, value in wanted.items():
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))  # both, so that it cannot be raised again
    # The first of the two sends a signal that tells why; the second kills.
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))


def _address_space() -> int:
    import resource

    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0
