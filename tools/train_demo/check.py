"""How well pictures follow their prompts."""
import os
import random

import torch
from torch.nn import functional as F

import diffusion
import renderer
import scenes
import styles
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
        if name == "distilled" and run.device == "cuda":
            check_larger(run, classifier, unet, text, vae, scale, chosen, texts)
        renderer.write_png(run.path(name + ".png"), pictures[:48])
    with open(run.path("prompts.txt"), "w") as file:
        file.write("\n".join(texts))
    check_styles(run, classifier, vae, scale, texts)


def check_larger(run, classifier, unet, text, vae, scale, chosen, texts):
    """The same of larger pictures, made smaller for the classifier."""
    for size in (512, 1024):
        count, step = min(len(texts), 128), max(1, 64 * 256 ** 2 // size ** 2)
        pictures = torch.cat([F.interpolate(generate(run, unet, text, vae, scale, texts[i:i + step], i, size=size), size=(256, 256), mode="area")
                              for i in range(0, count, step)])
        print(f"{size}x{size}:", verdicts(classifier, pictures, chosen[:count]), flush=True)
        renderer.write_png(run.path(f"distilled_{size}.png"), pictures[:48])


def check_styles(run, classifier, vae, scale, texts):
    """How sure the classifier is of a style, and in what share of pictures it finds it first, level by level."""
    for style in styles.STYLES:
        if not os.path.exists(run.path(f"style_{style}.pt")):
            continue
        tensors, sheets = run.load("style_" + style)["weights"], []
        for strength in (0.0, 0.25, 0.5, 0.75, 1.0):
            unet, text = load_denoiser(run, "distilled")
            styles.add(unet, tensors, strength)
            pictures = torch.cat([generate(run, unet, text, vae, scale, texts[i:i + 128], i) for i in range(0, min(256, len(texts)), 128)])
            with torch.no_grad():
                sure = torch.softmax(classifier(pictures)["style"], 1)
            mine = scenes.STYLES.index(style)
            print(f"{style} {strength}: {sure[:, mine].mean().item():.3f}, first in {(sure.argmax(1) == mine).float().mean().item():.3f}", flush=True)
            sheets.append(pictures[:8])
        renderer.write_png(run.path(f"style_{style}.png"), torch.cat(sheets))
