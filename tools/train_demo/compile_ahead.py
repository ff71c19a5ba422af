"""Fills the compiler's cache for two stages: runs a few steps of each on made-up weights, in a directory of its own."""
import argparse
import tempfile

import torch

import denoiser
import networks
from run import Run

STEPS, PICTURES = 4, 512


def compile_ahead(run):
    short = {stage: (STEPS, run.recipe[stage][1]) for stage in ("denoiser", "distill")}
    with tempfile.TemporaryDirectory() as folder:
        mine = Run(argparse.Namespace(**{**vars(run.arguments), "work": folder, "seconds": {}}))
        mine.recipe = {**run.recipe, **short, "latents": {256: min(PICTURES, run.recipe["latents"][256])}}
        mine.save("autoencoder", weights=networks.Autoencoder(networks.VAE).state_dict(), scale=1.0)
        denoiser.train(mine)
        if mine.device == "cuda":
            torch.cuda.empty_cache()
        denoiser.distill(mine)
