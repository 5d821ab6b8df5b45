"""What the peer programs share: arguments, timing, peak memory, one JSON line per run."""

import argparse
import json
import os
import time


def arguments(description: str, modes: tuple[str, ...]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", required=True, help="GGUF file or Hugging Face folder")
    parser.add_argument("--mode", required=True, choices=modes)
    parser.add_argument("--tokens", type=int, required=True, help="prompt length N")
    parser.add_argument("--text", required=True, help="text that has at least N tokens")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--decode", type=int, default=64, help="tokens of the decode mode")
    return parser.parse_args()


def status_mib(key: str) -> float:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(key + ":"))


def measure(run, repeats: int) -> tuple[float, float]:
    """Best time of `repeats` runs after one that does not count, and the peak memory of all (MiB), loading left out."""
    with open("/proc/self/clear_refs", "w") as control:
        control.write("5")  # the peak starts again here
    run()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times), status_mib("VmHWM")


def report(**values) -> None:
    print(json.dumps({**values, "load": round(os.getloadavg()[0], 2)}))
