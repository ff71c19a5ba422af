"""How well pictures follow their prompts."""
import os
import random

import torch
from torch.nn import functional as F

import renderer
import scenes
import styles
from classifier import verdicts
from models import Painter, load_autoencoder, load_classifier


def check(run):
    """Shares of reserved prompts that the pictures follow, for the teacher and the distilled model; sheets of both."""
    classifier = load_classifier(run)
    rng = random.Random(5)
    chosen = [(scenes.random_scene(rng, reserved=True), "plain") for _ in range(512 if run.device == "cuda" else 8)]
    texts = [scenes.caption(scene, rng, plain_words=True) for scene, _ in chosen]
    with open(run.path("prompts.txt"), "w") as file:
        file.write("\n".join(texts))
    drawings = renderer.render([s for s, _ in chosen], run.device)
    print("renderings:", verdicts(classifier, drawings, chosen), flush=True)
    print("through the autoencoder:", verdicts(classifier, copied(run, drawings), chosen), flush=True)
    for name in ("denoiser", "distilled"):
        if os.path.exists(run.path(name + ".pt")):
            pictures = Painter(run, name).paint(texts)
            print(name + ":", verdicts(classifier, pictures, chosen), flush=True)
            renderer.write_png(run.path(name + ".png"), pictures[:48])
    if run.device == "cuda":
        check_larger(run, classifier, chosen[:128], texts[:128])
    check_styles(run, classifier, texts[:256])


def copied(run, pictures):
    """What the autoencoder makes of pictures: the bound of what any model of its latents can show."""
    vae, _ = load_autoencoder(run)
    with torch.no_grad(), run.autocast():
        return torch.cat([(vae.decode(vae.encode(2 * x - 1)[0]).float() / 2 + 0.5).clamp(0, 1) for x in pictures.split(32)])


def check_larger(run, classifier, chosen, texts):
    """The same of larger pictures, made smaller for the classifier."""
    painter = Painter(run, "distilled")
    for size in (512, 1024):
        pictures = F.interpolate(painter.paint(texts, size, batch=64 * 256 ** 2 // size ** 2), size=(256, 256), mode="area")
        print(f"{size}x{size}:", verdicts(classifier, pictures, chosen), flush=True)
        renderer.write_png(run.path(f"distilled_{size}.png"), pictures[:48])


def check_styles(run, classifier, texts):
    """How sure the classifier is of a style, and in what share of pictures it finds it first, level by level."""
    for style in styles.STYLES:
        if not os.path.exists(run.path(f"style_{style}.pt")):
            continue
        tensors, sheets, mine = run.load("style_" + style)["weights"], [], scenes.STYLES.index(style)
        for strength in (0.0, 0.25, 0.5, 0.75, 1.0, 1.3):
            painter = Painter(run, "distilled")
            styles.add(painter.unet, tensors, strength)
            pictures = painter.paint(texts)
            with torch.no_grad():
                sure = torch.softmax(classifier(pictures)["style"], 1)
            print(f"{style} {strength}: {sure[:, mine].mean().item():.3f}, first in {(sure.argmax(1) == mine).float().mean().item():.3f}", flush=True)
            sheets.append(pictures[:8])
        renderer.write_png(run.path(f"style_{style}.png"), torch.cat(sheets))
