"""What a process has used: CPU seconds and peak memory, from /proc.

In: process ids. Out: numbers that only grow, to be read before and after. Nothing is sampled: a
process that came and went in between is in its parent's sum.
"""

import os

TICKS = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat after the name: own time in user and kernel mode, then the same of the
# children that ended and were waited for.
USER, KERNEL, WAITED_USER, WAITED_KERNEL = 11, 12, 13, 14


def stat(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as text:
        # The name may hold anything, also brackets.
        return text.read().rsplit(")", 1)[1].split()


def cpu(pid):
    """CPU seconds of a process and of its children that have ended; None if it is gone."""
    try:
        fields = stat(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return sum(int(fields[field]) for field in (USER, KERNEL, WAITED_USER, WAITED_KERNEL)) / TICKS


def children(pid):
    found = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/children", encoding="utf-8") as text:
                found += text.read().split()
        except FileNotFoundError:
            pass  # a thread that ended meanwhile has no children any more
    return found


def tree_cpu(pid):
    """CPU seconds of a server and of all its processes, those that have ended included. A child
    that ends between the readings would be counted twice or not at all: then it is read again."""
    if pid is None:
        return None
    while True:
        before = cpu(pid), children(pid)
        living = [cpu(child) for child in before[1]]
        after = cpu(pid), children(pid)
        if before[1] == after[1] and None not in living:
            return after[0] + sum(living)


def peak_memory(pid):
    """Peak resident memory in bytes; None if the process is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8") as text:
            for line in text:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None


def machine():
    """CPU seconds that all processes of the machine have used, waiting for I/O not counted."""
    with open("/proc/stat", encoding="utf-8") as text:
        user, nice, kernel, _idle, _iowait, interrupt, soft_interrupt, *_ = map(int, text.readline().split()[1:])
    return (user + nice + kernel + interrupt + soft_interrupt) / TICKS


def service(name):
    """The process id of a server that tests/services started; None for any other."""
    state = os.environ.get("ROWCAST_TEST_STATE", "/nonexistent")
    try:
        with open(os.path.join(state, name, "pid"), encoding="utf-8") as text:
            return int(text.read())
    except FileNotFoundError:
        return None
