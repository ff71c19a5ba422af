"""The judge: a network that tells from a picture what it shows, trained on renderings."""
import random

import torch
from torch.nn import functional as F

import networks
import scenes
from data import picture_pool
from run import Average, Progress, optimizer_step

RESERVED = 0.3  # of the pictures


def targets(chosen, device):
    """What the classifier is to say of scenes, as tensors; positions are asked only of things that stand alone."""
    kinds, colors, positions = ({k: i for i, k in enumerate(names)} for names in (scenes.KINDS, scenes.COLORS, scenes.POSITIONS))
    n = len(chosen)
    pairs, where = torch.zeros(n, len(kinds) * len(colors)), torch.zeros(n, len(kinds) * len(positions))
    for i, (scene, _) in enumerate(chosen):
        facts = scenes.facts(scene)
        for kind, color in facts["pairs"]:
            pairs[i, kinds[kind] * len(colors) + colors[color]] = 1
        for kind, position in facts["positions"]:
            where[i, kinds[kind] * len(positions) + positions[position]] = 1
    index = lambda names, of: torch.tensor([names.index(of(c)) for c in chosen], device=device)
    return {"pairs": pairs.to(device), "positions": where.to(device), "place": index(scenes.PLACES, lambda c: c[0].place),
            "time": index(scenes.TIMES, lambda c: c[0].time), "style": index(scenes.STYLES, lambda c: c[1])}


def classifier_loss(logits, wanted):
    return (50 * F.binary_cross_entropy_with_logits(logits["pairs"], wanted["pairs"])
            + 10 * F.binary_cross_entropy_with_logits(logits["positions"], wanted["positions"])
            + sum(F.cross_entropy(logits[k], wanted[k]) for k in ("place", "time", "style")))


def verdicts(classifier, pictures, chosen):
    """Shares of pictures in which the classifier finds what the scenes say."""
    wanted = targets(chosen, pictures.device)
    with torch.no_grad():
        logits = classifier(pictures)
    found = (logits["pairs"] > 0) & (wanted["pairs"] > 0)
    there = (logits["positions"] > 0) & (wanted["positions"] > 0)
    has_things, has_positions = wanted["pairs"].sum(1) > 0, wanted["positions"].sum(1) > 0
    every = lambda hits, all_of, rows: (hits.sum(1) == all_of.sum(1))[rows].float().mean().item() if rows.any() else float("nan")
    result = {"object and color": every(found, wanted["pairs"], has_things), "position": every(there, wanted["positions"], has_positions)}
    outdoors = torch.tensor([c[0].place not in ("table", "plain") for c in chosen], device=pictures.device)
    for key in ("place", "time", "style"):
        hits = logits[key].argmax(1) == wanted[key]
        result[key] = hits[outdoors].float().mean().item() if key == "time" else hits.float().mean().item()
    return result


def train(run):
    shares = {"papercut": 0.12, "line": 0.12, "pixel": 0.12, "plain": 0.64}
    # The judge knows everything, or it would learn that what is kept from the model does not exist.
    pictures, chosen = picture_pool(run, run.recipe["pictures"], shares, 11, RESERVED)
    classifier = networks.Classifier().to(run.device, memory_format=torch.channels_last)
    predict = run.compiled(classifier)
    optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=0.02)
    average, progress, size = Average(classifier, 0.998), Progress(run, "classifier"), run.recipe["classifier"][1]
    everything = targets(chosen, run.device)
    going = True
    while going:
        i = torch.randint(len(pictures), (size,), device=run.device)
        # Generated pictures are a little soft or noisy, and that is not to matter.
        x = pictures[i].float() / 255
        x = x * (1 + 0.1 * torch.randn(size, 3, 1, 1, device=run.device)) + 0.04 * torch.randn(size, 3, 1, 1, device=run.device)
        if random.random() < 0.3:
            x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
        x = (x + 0.04 * random.random() * torch.randn_like(x)).clamp(0, 1)
        with run.autocast():
            loss = classifier_loss(predict(x.contiguous(memory_format=torch.channels_last)), {k: v[i] for k, v in everything.items()})
        optimizer_step(loss, optimizer, list(classifier.parameters()), progress.rate(2e-3))
        average.update(classifier)
        going = progress.going(loss.detach())
    classifier.load_state_dict(average.weights)
    run.save("classifier", weights=classifier.state_dict())
    held_out, told = picture_pool(run, min(2048, run.recipe["pictures"]), shares, 99, RESERVED)
    parts = [verdicts(classifier, held_out[i:i + 256].float() / 255, told[i:i + 256]) for i in range(0, len(told), 256)]
    print("classifier on new pictures:", {k: round(sum(p[k] for p in parts) / len(parts), 4) for k in parts[0]}, flush=True)
