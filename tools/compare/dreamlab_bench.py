"""Runs `dreamlab bench` and reads what it prints."""
import contextlib
import json
import subprocess

from peak_memory import DeviceMemoryWatch
from settings import UserError

# As the program names what it computes in.
DTYPE_NAMES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


def bench_command(program, settings):
    command = [program, "bench", "--family", settings.family, "--random-weights"]
    command += ["--size", f"{settings.width}x{settings.height}", "--steps", settings.steps]
    command += ["--guidance", settings.guidance, "--batch", settings.batch, "--device", settings.device]
    command += ["--dtype", settings.dtype, "--threads", settings.threads, "--repeat", settings.repeat]
    command += ["--only", ",".join(settings.stages), "--json"]
    return [str(part) for part in command]


def run_bench(program, settings):
    """The report of one run, as parsed from its JSON."""
    try:
        done = subprocess.run(bench_command(program, settings), capture_output=True, text=True)
    except OSError as error:
        raise UserError(f"{program} does not run: {error.strerror}; --dreamlab names the program") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"]
        raise UserError(f"dreamlab bench: {lines[-1]}")
    report = json.loads(done.stdout)
    if report["dtype"] != DTYPE_NAMES[settings.dtype]:
        raise UserError(f"dreamlab computed in {report['dtype']}, not in {settings.dtype}: nothing to compare")
    return report


def measure(program, settings):
    """One round, in the form of DiffusersStages.measure(), and the program's whole report beside it."""
    on_gpu = settings.device == "cuda"
    with DeviceMemoryWatch() if on_gpu else contextlib.nullcontext() as watch:
        report = run_bench(program, settings)
    # A stage that ran once has its time alone.
    times = {stage["name"]: stage["times_ms"] or [stage["ms"]]
             for stage in report["stages"] if stage["name"] in settings.stages}
    if on_gpu:
        memory = {"held": report["peak_gpu_memory_mib"], "device": watch.growth_mib}
    else:
        memory = {"resident": report["peak_memory_mib"]}
    return {"times_ms": times, "memory_mib": memory, "report": report}
