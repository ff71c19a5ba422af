"""Peaks of memory, MiB."""
import contextlib
import threading
from pathlib import Path

MIB = 2**20
PERIOD_S = 0.02


def reset_process_peak_memory():
    """Lets the peak of this process begin again from what it holds now, where the system lets us."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def process_peak_memory_mib():
    """The largest resident size of this process (VmHWM)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


class DeviceMemoryWatch:
    """While it lasts, looks at how much of the GPU's memory is in use by anyone, which needs none of its compute.

    with DeviceMemoryWatch() as watch:
        run_another_program()
    watch.growth_mib  # its peak, its CUDA context included, if nobody else's memory changed
    """

    def __enter__(self):
        self._before = self._peak = self._used()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    @property
    def growth_mib(self):
        return (self._peak - self._before) / MIB

    def _watch(self):
        while not self._stop.wait(PERIOD_S):
            self._peak = max(self._peak, self._used())

    @staticmethod
    def _used():
        import torch  # here, since --help does without PyTorch

        free, total = torch.cuda.mem_get_info()
        return total - free
