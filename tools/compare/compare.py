#!/usr/bin/env python3
"""Times HuggingFace diffusers and `dreamlab` in turns on one machine, with the same networks and settings.

    tools/compare/compare.py --family sdxl --device cuda

README.md beside this file says what is compared and how to read the result.
"""
import argparse
import dataclasses
import json
import os
import re
import sys
from pathlib import Path

import dreamlab_bench
import report
from published_configs import PUBLISHED
from settings import NATIVE_SIDE, STAGES, Settings, UserError

PROGRAM = Path(__file__).resolve().parents[2] / "dreamlab"
COMPILE_MODES = ("reduce-overhead", "max-autotune", "default")
DEFAULT_DTYPES = {"cuda": "fp16", "cpu": "fp32"}
DEFAULT_REPEAT = {"cuda": 20, "cpu": 3}
MAX_REPEAT, MAX_STEPS, MAX_BATCH = 40, 150, 64  # what `dreamlab bench` takes


def picture_size(text):
    """(width, height) in pixels of "WIDTHxHEIGHT"."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or any(int(side) % 8 or int(side) == 0 for side in match.groups()):
        raise argparse.ArgumentTypeError(f"'{text}' is no size; WIDTHxHEIGHT in multiples of 8 is, as in 512x768")
    return int(match[1]), int(match[2])


def stage_names(text):
    """The stages of a list with commas, in the order of STAGES."""
    names = text.split(",")
    if unknown := set(names) - set(STAGES):
        raise argparse.ArgumentTypeError(f"no stage is called {', '.join(sorted(unknown))}; {', '.join(STAGES)} are")
    return tuple(stage for stage in STAGES if stage in names)


def count_to(largest):
    """A parser of whole numbers from 1 to `largest`."""

    def count(text):
        if not text.isdecimal() or not 1 <= int(text) <= largest:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1 to {largest}")
        return int(text)

    return count


def parse_options(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--family", choices=NATIVE_SIDE, default="sdxl", help="networks (default: %(default)s)")
    add("--size", type=picture_size, metavar="WxH", help="picture, in pixels (default: the family's native size)")
    add("--steps", type=count_to(MAX_STEPS), default=4, help="denoising steps of LCM (default: %(default)s)")
    add("--guidance", type=float, default=1.0, help="over 1 a UNet pass is of two images (default: %(default)s)")
    add("--batch", type=count_to(MAX_BATCH), default=1, help="pictures at once (default: %(default)s)")
    add("--device", choices=("cuda", "cpu"), default="cuda", help="where both compute (default: %(default)s)")
    add("--dtype", choices=("fp32", "bf16", "fp16"), help="precision of both (default: fp16 on cuda, fp32 on cpu)")
    add("--threads", type=count_to(1024), default=0, help="of the processor, for both (default: PyTorch's choice)")
    add("--rounds", type=count_to(1000), default=3, help="turns of diffusers and dreamlab (default: %(default)s)")
    add("--repeat", type=count_to(MAX_REPEAT), help="timed runs of a stage in a round (default: 20 on cuda, 3 on cpu)")
    add("--only", type=stage_names, default=STAGES, metavar="STAGES", help=f"of {','.join(STAGES)} (default: all)")
    add("--compile", nargs="?", choices=COMPILE_MODES, const=COMPILE_MODES[0], metavar="MODE",
        help=f"also time torch.compile's UNet and VAE decoder: {', '.join(COMPILE_MODES)} (default: the first)")
    add("--release", action="store_true", help="move diffusers' networks to the host while dreamlab runs")
    add("--dreamlab", type=Path, default=PROGRAM, metavar="PATH", help="the program (default: %(default)s)")
    add("--json", action="store_true", help="print JSON with every time instead of the table")
    options = parser.parse_args(arguments)
    if options.device == "cpu" and options.dtype == "fp16":
        parser.error("fp16 is for GPUs; --dtype bf16 or fp32")
    return options


def settings_of(options):
    side = NATIVE_SIDE[options.family]
    width, height = options.size or (side, side)
    return Settings(
        family=options.family,
        width=width,
        height=height,
        steps=options.steps,
        guidance=options.guidance,
        batch=options.batch,
        device=options.device,
        dtype=options.dtype or DEFAULT_DTYPES[options.device],
        threads=options.threads,
        repeat=options.repeat or DEFAULT_REPEAT[options.device],
        stages=options.only,
    )


def import_diffusers_side():
    """The modules that need PyTorch, diffusers and transformers, which --help does without."""
    try:
        import diffusers_networks
        import diffusers_stages
    except (ImportError, RuntimeError) as error:  # diffusers raises the latter for what is missing within it
        reason = str(error).strip().splitlines()[-1]
        raise UserError(
            f"{reason}; `pip install torch diffusers transformers`, or put the src folder of a source tree on PYTHONPATH"
        ) from error
    return diffusers_networks, diffusers_stages


def describe_machine(networks, settings):
    """Device, versions and what PyTorch was set to, for the head of the result."""
    import diffusers
    import torch
    import transformers

    on_gpu = settings.device == "cuda"
    processor = next(iter(networks.unet.attn_processors.values()))
    return {
        "device": torch.cuda.get_device_name() if on_gpu else f"processor with {os.cpu_count()} threads",
        "versions": {
            "PyTorch": torch.__version__,
            "diffusers": diffusers.__version__,
            "transformers": transformers.__version__,
        },
        "attention": type(processor).__name__,
        "choices": f"cuDNN benchmark {'on' if torch.backends.cudnn.benchmark else 'off'}" if on_gpu
        else f"threads of each program: {settings.threads}",
    }


def say(text):
    print(text, file=sys.stderr, flush=True)


def take_turns(columns, rounds, before_dreamlab, after_dreamlab):
    """{column: [round, ...]} of A B A B ...; columns: {name: function that measures one round}."""
    results = {name: [] for name in columns}
    for number in range(1, rounds + 1):
        for name, measure in columns.items():
            say(f"round {number} of {rounds}: {report.TITLES[name]}")
            if name != report.OURS:
                results[name].append(measure())
                continue
            before_dreamlab()
            results[name].append(measure())
            after_dreamlab()
    return results


def compare(settings, options, config):
    """The summary (see report.summarize) of all rounds. config: a value of PUBLISHED."""
    if not options.dreamlab.is_file():  # before anything that takes time
        raise UserError(f"there is no program at {options.dreamlab}; build it, or name it by --dreamlab")
    networks_module, stages_module = import_diffusers_side()
    settings = networks_module.prepare_device(settings)
    say("making diffusers' networks")
    networks = networks_module.build_networks(config, settings.device, settings.dtype)
    eager = stages_module.eager_stages(networks, settings)
    columns = {"diffusers": eager.measure}
    if settings.device == "cuda":
        stages_module.choose_cudnn_benchmark(eager)
    machine = describe_machine(networks, settings)
    if options.compile:
        say("compiling diffusers' networks")
        compiled, machine["compile_s"] = stages_module.compiled_stages(networks, settings, options.compile)
        columns["diffusers_compiled"] = compiled.measure
    columns[report.OURS] = lambda: dreamlab_bench.measure(options.dreamlab, settings)

    def before_dreamlab():
        if options.release:
            networks.to("cpu")
        networks_module.free_cached_memory()

    def after_dreamlab():
        if options.release:
            networks.to(settings.device)

    rounds = take_turns(columns, options.rounds, before_dreamlab, after_dreamlab)
    return report.summarize(dataclasses.asdict(settings), machine, rounds)


def run(arguments):
    options = parse_options(arguments)
    settings = settings_of(options)
    summary = compare(settings, options, PUBLISHED[settings.family])
    print(json.dumps(summary, indent=2) if options.json else report.to_text(summary))


def main():
    try:
        run(sys.argv[1:])
    except UserError as error:
        sys.exit(f"compare: {error}")
    except RuntimeError as error:
        if "out of memory" not in str(error):
            raise
        sys.exit("compare: the GPU's memory is too small for this; try a smaller --size or --batch, or --release")


if __name__ == "__main__":
    main()
