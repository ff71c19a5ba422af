"""How well pictures follow their prompts."""
import os
import random

import torch

import diffusion
import renderer
import scenes
from classifier import verdicts
from models import generate, load_autoencoder, load_classifier, load_denoiser


def check(run):
    """Shares of reserved prompts that the pictures follow, for the teacher and the distilled model; sheets of both."""
    classifier, (vae, scale) = load_classifier(run), load_autoencoder(run)
    rng = random.Random(5)
    chosen = [(scenes.random_scene(rng, reserved=True), "plain") for _ in range(512 if run.device == "cuda" else 8)]
    texts = [scenes.caption(scene, rng, plain_words=True) for scene, _ in chosen]
    truth = renderer.render([s for s, _ in chosen], run.device)
    with torch.no_grad():
        print("renderings:", verdicts(classifier, truth, chosen), flush=True)
    for name, sampler in (("denoiser", diffusion.sample_ddim), ("distilled", diffusion.sample_lcm)):
        if not os.path.exists(run.path(name + ".pt")):
            continue
        unet, text = load_denoiser(run, name)
        pictures = torch.cat([generate(run, unet, text, vae, scale, texts[i:i + 128], i, sampler) for i in range(0, len(texts), 128)])
        print(name + ":", verdicts(classifier, pictures, chosen), flush=True)
        renderer.write_png(run.path(name + ".png"), pictures[:48])
    open(run.path("prompts.txt"), "w").write("\n".join(texts))
