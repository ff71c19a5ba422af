#!/usr/bin/env python3
"""Trains the demo model, its styles, its upscaler and the classifier that judges them.

    train.py STAGE... --words TABLE --work DIRECTORY [--recipe gpu|cpu] [--seconds STAGE=N,...] [--seed N]

Stages, each reading what those before it left in the directory: classifier, autoencoder, denoiser, distill, styles,
distill_styles, upscaler, check, export; or `resume` in place of the first four, for going on from the shipped model.
`--seconds` ends each stage early at so much time; the learning rate falls accordingly.
`latents` makes those that denoiser and distill read, which otherwise make them; `compile` fills the compiler's cache
with what those two are going to ask of it. Both are for a second GPU.
"""
import argparse
import time

import torch

import autoencoder
import check
import classifier
import compile_ahead
import data
import denoiser
import export
import resume
import styles
import upscaler
from run import RECIPES, Run

STAGES = {"classifier": classifier.train, "autoencoder": autoencoder.train, "denoiser": denoiser.train,
          "distill": denoiser.distill, "styles": styles.train, "distill_styles": styles.distill, "upscaler": upscaler.train, "check": check.check,
          "export": export.export, "resume": resume.resume, "latents": data.make_latents, "compile": compile_ahead.compile_ahead}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="+", choices=list(STAGES))
    parser.add_argument("--words", required=True, help="table of words that tokens.py made")
    parser.add_argument("--work", required=True, help="directory for what the stages make")
    parser.add_argument("--recipe", choices=list(RECIPES), default="gpu" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", default={}, type=lambda text: {k: float(v) for k, v in (p.split("=") for p in text.split(","))},
                        help="STAGE=N,...: at most so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sizes", type=lambda text: [int(v) for v in text.split(",")], help="of `latents`: sides of pictures; default: all")
    parser.add_argument("--compile", action="store_true", help="torch.compile the networks")
    run = Run(parser.parse_args())
    if run.device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
    for stage in run.arguments.stages:
        begin = time.time()
        STAGES[stage](run)
        print(f"{stage}: {time.time() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
