"""Draws scenes with signed distances, a batch at a time, on whatever device torch runs on.

A picture is a background (functions of the whole picture) and sprites (things and trees, each drawn in a small patch with
smooth edges), painted from back to front. `render` gives [N, 3, SIZE, SIZE] in 0..1, or another size: the same scene, sharper.
"""
import math
import random

import torch

import scenes
from scenes import COLORS

SIZE = 256
SPRITES = scenes.KINDS + ["pine", "tree", "cloud", "sun", "moon", "glint"]
COLOR = {name: tuple(v / 255 for v in rgb) for name, rgb in COLORS.items()}
HORIZON = {"table": 0.62, "meadow": 0.55, "beach": 0.45, "snow": 0.55, "desert": 0.56, "plain": 0.0, "mountains": 0.74,
           "sea": 0.5, "forest": 0.58, "village": 0.6, "lake": 0.5}
# Where things of so many in a row stand.
SPOTS = {"left": 0.22, "middle": 0.5, "right": 0.78}
ROWS = {2: (0.32, 0.68), 3: (0.2, 0.5, 0.8), 4: (0.14, 0.38, 0.62, 0.86)}
SCALES = {1: (0.155, 0.2), 2: (0.13, 0.155), 3: (0.115, 0.135), 4: (0.092, 0.105)}


# ---- from a scene to numbers

class Sprite:
    """kind, center and radius as shares of the picture, color, a random number in 0..1."""
    def __init__(self, kind, x, y, radius, color=(1, 1, 1), chance=0.5):
        self.kind, self.x, self.y, self.radius, self.color, self.chance = SPRITES.index(kind), x, y, radius, color, chance


def layout(scene):
    """(background numbers as a dict of floats and tuples, sprites from back to front)."""
    rng = random.Random(scene.seed)
    horizon = HORIZON[scene.place] + rng.uniform(-0.03, 0.03)
    sprites = []
    indoors = scene.place in ("table", "plain")
    if not indoors:
        if scene.light != "none":
            x = {"left": 0.2, "middle": 0.5, "right": 0.8}[scene.light] + rng.uniform(-0.05, 0.05)
            y = min(rng.uniform(0.1, 0.24), horizon - 0.14) if scene.time != "sunset" else min(horizon - 0.13, rng.uniform(0.2, 0.32))
            kind = "moon" if scene.time == "night" else "sun"
            color = {"day": (1, 0.93, 0.5), "sunset": (1, 0.62, 0.25), "night": (0.96, 0.96, 0.88)}[scene.time]
            sprites.append(Sprite(kind, x, y, rng.uniform(0.065, 0.085), color, rng.random()))
        if scene.time == "night":
            for _ in range(rng.randint(14, 22)):
                sprites.append(Sprite("glint", rng.random(), rng.uniform(0.02, max(0.06, horizon - 0.12)), rng.uniform(0.009, 0.016), (1, 1, 0.9), rng.random()))
        if scene.sky == "cloudy":
            color = {"day": (1, 1, 1), "sunset": (1, 0.8, 0.72), "night": (0.3, 0.33, 0.46)}[scene.time]
            for _ in range(rng.randint(2, 4)):
                sprites.append(Sprite("cloud", rng.uniform(0.05, 0.95), rng.uniform(0.08, max(0.12, horizon - 0.25)), rng.uniform(0.09, 0.15), color, rng.random()))
    sky_count = len(sprites)
    sprites += _land(scene, rng, horizon)
    sprites += _things(scene, rng, horizon)
    background = {
        "horizon": horizon, "light_x": {"none": -1.0, "left": 0.2, "middle": 0.5, "right": 0.8}[scene.light],
        "tint": tuple(rng.uniform(-0.05, 0.05) for _ in range(3)), "phase": rng.uniform(0, 100), "wall": _wall(scene, rng),
        "peaks": [(rng.uniform(-0.1, 1.1), rng.uniform(0.5, 1.0), rng.uniform(0.75, 1.3)) for _ in range(12)],
    }
    return background, sprites, sky_count


def _wall(scene, rng):
    """The color behind things on a table or on nothing, not too near theirs."""
    things = [COLOR[t.color] for t in scene.things]
    while True:
        base = rng.choice([(0.85, 0.82, 0.74), (0.72, 0.8, 0.84), (0.8, 0.85, 0.75), (0.87, 0.78, 0.76), (0.62, 0.66, 0.72), (0.93, 0.9, 0.86)])
        color = tuple(min(1, max(0, c + rng.uniform(-0.06, 0.06))) for c in base)
        if all(sum(abs(a - b) for a, b in zip(color, thing)) > 0.35 for thing in things):
            return color


def _land(scene, rng, horizon):
    """Trees and houses of a landscape, the far ones first."""
    things = []
    night = {"day": 1.0, "sunset": 0.75, "night": 0.45}[scene.time]

    def tree(kind, x, y, radius):
        green = (rng.uniform(0.1, 0.24), rng.uniform(0.38, 0.55), rng.uniform(0.16, 0.28))
        things.append(Sprite(kind, x, y - radius, radius, tuple(c * night for c in green), rng.random()))
    if scene.place == "forest":
        for i in range(rng.randint(11, 15)):
            y = horizon + 0.04 + 0.33 * i / 14
            tree("pine" if rng.random() < 0.75 else "tree", rng.random(), y, rng.uniform(0.11, 0.15) + 0.1 * i / 14)
    elif scene.place == "village":
        color = COLOR[scene.things[0].color]
        for i in range(rng.randint(3, 4)):
            y = horizon + 0.12 + 0.09 * i
            things.append(Sprite("house", (0.2 + 0.31 * i + rng.uniform(-0.06, 0.06)) % 1, y - 0.12, rng.uniform(0.12, 0.15), color, rng.random()))
            tree("tree" if rng.random() < 0.6 else "pine", rng.random(), y + 0.02, rng.uniform(0.07, 0.1))
    elif scene.place in ("meadow", "mountains", "lake") and not (scene.things and scene.things[0].kind in scenes.OBJECTS):
        for _ in range(rng.randint(2, 5)):
            tree("pine" if scene.place != "meadow" else "tree", rng.choice([rng.uniform(0, 0.25), rng.uniform(0.75, 1), rng.random()]),
                 horizon + rng.uniform(0.05, 0.12), rng.uniform(0.06, 0.1))
    return things


def _things(scene, rng, horizon):
    things = []
    if scene.place == "village":
        return things
    for thing in scene.things:
        xs = ROWS[thing.count] if thing.count > 1 else (SPOTS[thing.position],)
        low, high = SCALES[thing.count]
        radius = rng.uniform(low, high) if len(scene.things) == 1 else rng.uniform(0.135, 0.175)
        for x in xs:
            r = radius * rng.uniform(0.95, 1.05)
            base = {"boat": horizon + 0.2, "house": horizon + 0.2}.get(thing.kind, max(horizon + 0.2, 0.78)) + rng.uniform(-0.04, 0.05)
            if scene.place == "plain":
                base = 0.5 + r + rng.uniform(-0.04, 0.04)
            if thing.kind == "balloon" and scene.place != "plain":
                base -= 0.16
            things.append(Sprite(thing.kind, x + rng.uniform(-0.03, 0.03), min(base, 0.95) - r, r, COLOR[thing.color], rng.random()))
    return things


# ---- painting

def smooth(edge, width):
    """1 where edge is negative, 0 where positive, smooth over `width`."""
    return torch.clamp(0.5 - edge / width, 0, 1)


class Canvas:
    """pixels [N, 3, size, size]; flat: without shading, and every layer throws a shadow (cut paper)."""
    def __init__(self, count, device, flat, size):
        self.pixels = torch.zeros(count, 3, size, size, device=device)
        self.flat, self.size = flat, size
        self.depth = max(1, round(3 * size / SIZE))  # of shadows, in pixels
        axis = (torch.arange(size, device=device) + 0.5) / size
        self.y, self.x = axis[None, :, None], axis[None, None, :]

    def fill(self, mask, color, shadow=True):
        """mask [N, H, W], color [N, 3] or [N, 3, H, W]."""
        if self.flat and shadow:
            dark = torch.nn.functional.avg_pool2d(mask[:, None], 2 * self.depth + 1, 1, self.depth, count_include_pad=False)
            dark = torch.roll(dark, (-self.depth, self.depth), (2, 3))
            self.pixels *= 1 - 0.35 * dark
        if color.dim() == 2:
            color = color[:, :, None, None]
        self.pixels += mask[:, None] * (color - self.pixels)


def _column(values, device, key=None):
    return torch.tensor([v[key] for v in values] if key else values, device=device, dtype=torch.float32)[:, None, None]


def _background(canvas, place, time, numbers, device):
    """One place at one time of day; numbers: one dict a picture."""
    x, y = canvas.x, canvas.y
    horizon, phase = _column(numbers, device, "horizon"), _column(numbers, device, "phase")
    tint = torch.tensor([n["tint"] for n in numbers], device=device)[:, :, None, None]
    wall = torch.tensor([n["wall"] for n in numbers], device=device)[:, :, None, None]
    count, size = len(numbers), canvas.size
    night = {"day": 1.0, "sunset": 0.72, "night": 0.4}[time]
    glow = {"day": (0, 0, 0), "sunset": (0.1, 0.02, -0.04), "night": (-0.03, -0.01, 0.08)}[time]

    def paint(rgb, vary=0.0):
        color = torch.tensor(rgb, device=device)[None, :] * night + torch.tensor(glow, device=device)[None, :]
        return (color + vary * tint[:, :, 0, 0]).clamp(0, 1)

    def shaded(rgb, top, bottom, darker):
        share = ((y - top) / (bottom - top)).clamp(0, 1)[:, None]
        if canvas.flat:
            share = torch.full_like(share, 0.4)
        return paint(rgb, 1.0)[:, :, None, None] * (1 - darker * share)

    def ridge(low, high, first, last, roughness):
        """Height of a mountain range per column, [N, 1, W], as a share of the picture from the top."""
        peaks = torch.tensor([n["peaks"][first:last] for n in numbers], device=device)
        cx, height, slope = (peaks[:, :, i, None] for i in range(3))
        h = (height - slope * (canvas.x[0] - cx).abs() * 1.5).amax(1)[:, None]
        rough = h + roughness * (torch.sin(x * 61 + phase) + torch.sin(x * 127 + 2 * phase) * 0.6)
        return low - (low - high) * rough.clamp(0.05, 1), low - (low - high) * h

    def hills(level, height, waves, shift):
        return level + height * (torch.sin(x * waves + phase + shift) + 0.5 * torch.sin(x * waves * 2.3 + 2 * phase))

    everywhere = torch.ones(count, size, size, device=device)
    pixel = 1.5 / size
    if place == "plain":
        shade = 1 - (0 if canvas.flat else 0.25) * ((x - 0.5) ** 2 + (y - 0.5) ** 2)[:, None]
        canvas.fill(everywhere, wall * shade, shadow=False)
        return
    if place == "table":
        canvas.fill(everywhere, wall * (1 - (0 if canvas.flat else 0.12) * y[:, None]), shadow=False)
        wood = torch.tensor((0.6, 0.41, 0.24), device=device)[None, :, None, None] + tint
        grain = 0 if canvas.flat else 0.05 * torch.sin((y - horizon) * 150 + 2 * torch.sin(x * 9 + phase))[:, None]
        canvas.fill(smooth(horizon - y, pixel).expand(count, size, size), (wood * (1 + grain)).expand(count, 3, size, size))
        edge = smooth((y - horizon - 0.012).abs() - 0.012, pixel).expand(count, size, size)
        canvas.fill(edge, (wood * 0.75).expand(count, 3, size, size), shadow=False)
        return
    top, low = {"day": ((0.33, 0.6, 0.93), (0.78, 0.9, 0.98)), "sunset": ((0.36, 0.25, 0.52), (0.99, 0.62, 0.36)),
                "night": ((0.03, 0.04, 0.14), (0.12, 0.16, 0.36))}[time]
    share = (y / horizon.clamp(0.3)).clamp(0, 1)[:, None]
    if canvas.flat:
        share = (share * 4).floor() / 4
    top, low = (torch.tensor(c, device=device)[None, :, None, None] for c in (top, low))
    canvas.fill(everywhere, (top + (low - top) * share + 0.6 * tint).clamp(0, 1), shadow=False)
    canvas.sky_done()

    if place in ("mountains", "lake"):
        far = ridge(horizon, horizon - (0.5 if place == "mountains" else 0.3), 0, 4, 0.012)
        wide = max(1, round(3 * size / SIZE))
        near = ridge(horizon + 0.03, horizon - (0.32 if place == "mountains" else 0.17), 4, 8, 0.016)
        for (line, even), rgb, snow in ((far, (0.52, 0.58, 0.7), 0.13), (near, (0.36, 0.4, 0.47), 0.075)):
            mask = smooth(line - y, pixel).expand(count, size, size)
            slope = torch.nn.functional.pad(even[:, :, 2 * wide:] - even[:, :, :-2 * wide], (wide, wide), mode="replicate")
            lit = 1 + (0 if canvas.flat else 0.16) * torch.tanh(slope * 100)
            canvas.fill(mask, (paint(rgb, 1.0)[:, :, None, None] * lit[:, None]).expand(count, 3, size, size))
            cap = line + snow * (1 + 0.35 * torch.sin(x * 83 + phase * 3) + 0.2 * torch.sin(x * 171 + phase)) * (horizon - line).clamp(0, 0.5) * 2.6
            white = paint((0.97, 0.98, 1.0))[:, :, None, None] * (1 - (0 if canvas.flat else 0.1) * (1 - lit[:, None]).abs() * 4)
            canvas.fill(mask * smooth(y - cap, pixel), white.expand(count, 3, size, size), shadow=False)
    if place == "forest":
        line = hills(horizon - 0.09, 0.015, 23, 1)
        canvas.fill(smooth(line - y, pixel).expand(count, size, size), paint((0.2, 0.36, 0.27), 1.0))
    if place in ("meadow", "village", "snow", "desert"):
        far = {"snow": (0.82, 0.87, 0.94), "desert": (0.86, 0.66, 0.4)}.get(place, (0.42, 0.62, 0.36))
        line = hills(horizon - 0.05, 0.03, 7, 2)
        canvas.fill(smooth(line - y, pixel).expand(count, size, size), paint(far, 1.0))
    ground = {"meadow": (0.42, 0.7, 0.27), "village": (0.46, 0.68, 0.31), "snow": (0.94, 0.96, 0.99), "desert": (0.93, 0.75, 0.47),
              "mountains": (0.36, 0.58, 0.27), "forest": (0.29, 0.48, 0.22), "lake": (0.42, 0.64, 0.3)}.get(place)
    if ground:
        line = hills(horizon, 0.012, 9, 0)
        canvas.fill(smooth(line - y, pixel).expand(count, size, size), shaded(ground, horizon, 1.0, 0.3 if place != "snow" else 0.14))
        if place == "desert":
            line = hills(horizon + 0.17, 0.05, 6, 4)
            canvas.fill(smooth(line - y, pixel).expand(count, size, size), shaded((0.87, 0.66, 0.37), horizon, 1.0, 0.25))
        if place in ("meadow", "village", "snow"):
            line = hills(horizon + 0.15, 0.03, 5, 3)
            nearer = tuple(c * 0.93 for c in ground)
            canvas.fill(smooth(line - y, pixel).expand(count, size, size), shaded(nearer, horizon, 1.0, 0.25 if place != "snow" else 0.12))

    def water(mask, top_line):
        canvas.fill(mask, shaded((0.18, 0.45, 0.72), top_line, 1.0, 0.42))
        light_x = _column(numbers, device, "light_x")
        spread = 0.03 + 0.12 * (y - top_line).clamp(0)
        shine = smooth((x - light_x).abs() - spread, 0.06) * (light_x >= 0) * (0.4 + 0.3 * torch.sin(y * 170 + 3 * torch.sin(x * 23 + phase))).clamp(0, 1)
        canvas.fill(mask * shine, paint((1.0, 0.95, 0.8)).clamp(0.5, 1), shadow=False)
        waves = smooth(0.93 - torch.sin(y ** 0.5 * 150 + 1.6 * torch.sin(x * 31 + phase * 3) + phase), 0.2) * 0.35
        canvas.fill(mask * waves * (0 if canvas.flat else 1), paint((0.75, 0.87, 0.97)), shadow=False)
    if place in ("sea", "beach"):
        water(smooth(horizon - y, pixel).expand(count, size, size).contiguous(), horizon)
    if place == "beach":
        line = 0.66 + 0.05 * torch.sin(x * 5 + phase) + 0.06 * (x - 0.5)
        canvas.fill(smooth(line - 0.015 - y, pixel).expand(count, size, size), paint((0.95, 0.97, 0.97)), shadow=False)
        canvas.fill(smooth(line - y, pixel).expand(count, size, size), shaded((0.95, 0.84, 0.6), 0.6, 1.0, 0.15))
    if place == "lake":
        cy = horizon + 0.24
        mask = smooth((((x - 0.5) / 0.56) ** 2 + ((y - cy) / 0.17) ** 2).sqrt() * 0.17 - 0.17, pixel).expand(count, size, size)
        water(mask.contiguous(), cy - 0.17)


class Patches:
    """Sprites of one kind: coordinates around their centers in radii (y down), and what is painted so far."""
    def __init__(self, canvas, rows, x, y, radius, time):
        device, size = canvas.pixels.device, canvas.size
        self.canvas, self.rows, self.flat = canvas, rows, canvas.flat
        side = min(size, int(math.ceil(float(radius.max()) * 2.9 * size)) + 6)
        left = (x * size - side / 2).round().long().clamp(0, size - side)
        upper = (y * size - side / 2).round().long().clamp(0, size - side)
        steps = torch.arange(side, device=device)
        self.columns = (left[:, None] + steps)[:, None, :]
        self.lines = (upper[:, None] + steps)[:, :, None]
        self.x = ((self.columns + 0.5) / size - x[:, None, None]) / radius[:, None, None]
        self.y = ((self.lines + 0.5) / size - y[:, None, None]) / radius[:, None, None]
        self.pixel = 1.4 / size / radius[:, None, None]
        self.light = {"day": 1.0, "sunset": 0.85, "night": 0.62}[time]
        self.pixels = canvas.pixels[rows[:, None, None], :, self.lines, self.columns].movedim(-1, 1)

    def paint(self, edge, color, shade=None, opacity=1.0, shadow=True, lit=True):
        """edge: signed distance in radii; color [N, 3] or a tuple; shade: multiplies it, [N, S, S]."""
        mask = smooth(edge, self.pixel) * opacity
        if self.flat:
            shade = None
            if shadow:
                dark = smooth(torch.roll(edge, (-self.canvas.depth, self.canvas.depth), (1, 2)), self.pixel * 4)
                self.pixels = self.pixels * (1 - 0.35 * dark * opacity)[:, None]
        if not torch.is_tensor(color):
            color = torch.tensor(color, device=edge.device, dtype=torch.float32)[None].expand(len(self.rows), 3)
        color = (color * (self.light if lit else 1.0))[:, :, None, None]
        if shade is not None:
            color = (color * shade[:, None]).clamp(0, 1)
        self.pixels = self.pixels + mask[:, None] * (color - self.pixels)

    def put(self):
        self.canvas.pixels[self.rows[:, None, None], :, self.lines, self.columns] = self.pixels.movedim(1, -1)


def circle(p, cx, cy, r):
    return ((p.x - cx) ** 2 + (p.y - cy) ** 2).sqrt() - r


def oval(p, cx, cy, rx, ry):
    return ((((p.x - cx) / rx) ** 2 + ((p.y - cy) / ry) ** 2).sqrt() - 1) * min(rx, ry)


def rectangle(p, cx, cy, hx, hy, r=0.0):
    dx, dy = (p.x - cx).abs() - hx + r, (p.y - cy).abs() - hy + r
    return (dx.clamp(0) ** 2 + dy.clamp(0) ** 2).sqrt() + torch.maximum(dx, dy).clamp(max=0) - r


def polygon(p, points):
    """Convex, clockwise on the screen."""
    edge = None
    for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1]):
        length = math.hypot(bx - ax, by - ay)
        d = ((by - ay) * (p.x - ax) - (bx - ax) * (p.y - ay)) / length
        edge = d if edge is None else torch.maximum(edge, d)
    return edge


def lit(p, strength=0.35):
    """Lighter at the upper left, darker at the lower right."""
    return 1.06 - strength * ((p.x + p.y) * 0.5).clamp(-0.7, 1)


def draw(kind, p, color, chance):
    dark, chance = color * 0.55, chance[:, None, None]
    if kind not in ("cloud", "sun", "moon", "glint", "balloon", "boat"):
        p.paint(oval(p, 0.1, 0.93, 0.8, 0.14), (0.05, 0.05, 0.08), opacity=0.28, shadow=False)
    if kind == "ball":
        shine = (-((p.x + 0.35) ** 2 + (p.y + 0.4) ** 2) * 5).exp()
        p.paint(circle(p, 0, 0, 0.95), color, lit(p, 0.45) + 0.35 * shine)
    elif kind == "box":
        p.paint(polygon(p, [(-0.85, -0.45), (-0.5, -0.85), (0.95, -0.85), (0.95, 0.45), (0.62, 0.9), (-0.85, 0.9)]), color * 0.72)
        p.paint(polygon(p, [(-0.85, -0.45), (-0.5, -0.85), (0.95, -0.85), (0.62, -0.45)]), (color * 1.12 + 0.06).clamp(0, 1), shadow=False)
        p.paint(rectangle(p, -0.115, 0.225, 0.735, 0.675), color, 1.02 - 0.1 * p.y, shadow=False)
    elif kind == "cone":
        body = torch.minimum(polygon(p, [(0, -1), (0.78, 0.72), (-0.78, 0.72)]), oval(p, 0, 0.72, 0.78, 0.22))
        p.paint(body, color, 1.12 - 0.5 * ((p.x + 0.3) * 0.8).clamp(-0.3, 1))
    elif kind == "star":
        r, a = (p.x ** 2 + p.y ** 2).sqrt(), torch.atan2(p.x, -p.y)
        a = torch.remainder(a + math.pi / 5, 2 * math.pi / 5) - math.pi / 5
        px, py = r * torch.cos(a), r * torch.sin(a).abs()
        edge = (px - 1) * math.sin(0.62) + py * math.cos(0.62)
        p.paint(edge * 0.9, color, lit(p, 0.25))
    elif kind == "heart":
        x, y = p.x.abs() * 1.265, -p.y * 1.2075 + 0.2725
        f = (x ** 2 + (y - 0.7 * (x + 1e-6) ** 0.6) ** 2).sqrt() - 0.9
        p.paint(f * 0.75, color, lit(p, 0.35))
    elif kind == "ring":
        p.paint(circle(p, 0, 0, 0.66).abs() - 0.26, color, lit(p, 0.4))
    elif kind == "flower":
        p.paint(rectangle(p, 0, 0.55, 0.06, 0.45), (0.2, 0.5, 0.2))
        p.paint(oval(p, 0.25, 0.68, 0.26, 0.1), (0.24, 0.56, 0.24))
        x, y = p.x, p.y + 0.3
        r, a = (x ** 2 + y ** 2).sqrt(), torch.atan2(y, x)
        p.paint((r - 0.5 - 0.2 * torch.cos(5 * a + 6 * chance)) * 0.8, color, 0.82 + 0.35 * r)
        p.paint(circle(p, 0, -0.3, 0.2), (0.98, 0.78, 0.2), shadow=False)
    elif kind == "mushroom":
        p.paint(rectangle(p, 0, 0.5, 0.24, 0.45, 0.1), (0.93, 0.88, 0.78), 1 - 0.25 * p.x)
        cap = torch.maximum(oval(p, 0, 0.12, 0.95, 0.95), p.y - 0.14)
        p.paint(cap, color, lit(p, 0.35))
        for cx, cy, r in ((-0.4, -0.3, 0.13), (0.15, -0.5, 0.15), (0.5, -0.12, 0.11), (-0.02, -0.08, 0.1)):
            p.paint(circle(p, cx, cy, r), (0.98, 0.97, 0.93), shadow=False)
    elif kind == "fish":
        p.paint(polygon(p, [(0.45, 0), (1.0, -0.5), (1.0, 0.5)]), color * 0.8)
        p.paint(oval(p, -0.2, 0, 0.78, 0.5), color, 1.1 - 0.4 * p.y)
        p.paint(polygon(p, [(-0.25, -0.15), (0.15, 0.05), (-0.15, 0.3)]), color * 0.7, shadow=False)
        p.paint(circle(p, -0.62, -0.12, 0.12), (1, 1, 1), shadow=False)
        p.paint(circle(p, -0.64, -0.12, 0.06), (0.05, 0.05, 0.05), shadow=False)
    elif kind == "cup":
        p.paint((oval(p, 0.62, 0.15, 0.36, 0.36)).abs() - 0.09, color * 0.85)
        p.paint(torch.minimum(rectangle(p, -0.1, 0.1, 0.62, 0.72, 0.16), oval(p, -0.1, -0.6, 0.62, 0.2)), color, 1.05 - 0.35 * (p.x + 0.1))
        p.paint(oval(p, -0.1, -0.6, 0.5, 0.13), dark, shadow=False)
    elif kind == "cat":
        tail = (oval(p, 0.62, 0.55, 0.38, 0.38).abs() - 0.09)
        p.paint(torch.maximum(tail, 0.35 - p.x), color * 0.85)
        p.paint(oval(p, 0, 0.45, 0.55, 0.52), color, lit(p, 0.3))
        for side in (-1, 1):
            ear = [(0.16, -0.62), (0.42, -1.02), (0.5, -0.45)] if side > 0 else [(-0.5, -0.45), (-0.42, -1.02), (-0.16, -0.62)]
            p.paint(polygon(p, ear), color * 0.9)
        p.paint(oval(p, 0, -0.36, 0.52, 0.44), color, lit(p, 0.25))
        for side in (-1, 1):
            p.paint(oval(p, side * 0.2, -0.42, 0.1, 0.12), (0.75, 0.95, 0.4), shadow=False)
            p.paint(oval(p, side * 0.2, -0.42, 0.04, 0.1), (0.02, 0.02, 0.02), shadow=False)
        p.paint(oval(p, 0, -0.24, 0.07, 0.05), (0.9, 0.5, 0.55), shadow=False)
    elif kind == "balloon":
        p.paint(rectangle(p, 0, 0.95, 0.025, 0.4), (0.25, 0.25, 0.25), shadow=False)
        shine = (-((p.x + 0.3) ** 2 + (p.y + 0.5) ** 2) * 6).exp()
        p.paint(oval(p, 0, -0.25, 0.66, 0.78), color, lit(p, 0.35) + 0.3 * shine)
        p.paint(polygon(p, [(0, 0.48), (0.12, 0.66), (-0.12, 0.66)]), color * 0.85, shadow=False)
    elif kind == "house":
        p.paint(rectangle(p, 0, 0.45, 0.72, 0.5), color, 1.03 - 0.2 * p.x)
        p.paint(polygon(p, [(0, -0.85), (0.95, 0.0), (-0.95, 0.0)]), (0.42, 0.26, 0.22), 1 - 0.2 * p.x)
        p.paint(rectangle(p, -0.28, 0.62, 0.16, 0.33), (0.3, 0.2, 0.14), shadow=False)
        p.paint(rectangle(p, 0.3, 0.4, 0.18, 0.17), (0.98, 0.93, 0.6), shadow=False, lit=False)
    elif kind == "boat":
        p.paint(rectangle(p, 0, -0.15, 0.035, 0.75), (0.35, 0.24, 0.15))
        p.paint(polygon(p, [(0.08, -0.9), (0.72, 0.3), (0.08, 0.3)]), color, 1.05 - 0.2 * p.x)
        p.paint(polygon(p, [(-0.08, -0.7), (-0.08, 0.3), (-0.55, 0.3)]), (0.95, 0.94, 0.9))
        p.paint(polygon(p, [(-0.95, 0.42), (0.95, 0.42), (0.6, 0.85), (-0.6, 0.85)]), color * 0.75)
    elif kind == "pine":
        p.paint(rectangle(p, 0, 0.85, 0.1, 0.2), (0.3, 0.2, 0.12))
        for cy, half in ((0.72, 0.62), (0.2, 0.5), (-0.28, 0.36)):
            p.paint(polygon(p, [(0, cy - 0.72), (half, cy), (-half, cy)]), color, 1.08 - 0.35 * p.x, lit=False)
    elif kind == "tree":
        p.paint(rectangle(p, 0, 0.65, 0.1, 0.4), (0.36, 0.24, 0.14))
        crown = torch.minimum(torch.minimum(circle(p, -0.3, -0.1, 0.45), circle(p, 0.32, -0.08, 0.43)), circle(p, 0, -0.45, 0.5))
        p.paint(crown, color, lit(p, 0.45), lit=False)
    elif kind == "cloud":
        edge = torch.minimum(torch.minimum(circle(p, -0.5, 0.1, 0.32), circle(p, 0.5, 0.12, 0.3)), torch.minimum(circle(p, -0.1, -0.08, 0.42), circle(p, 0.25, 0.0, 0.36)))
        p.paint(torch.maximum(edge, p.y - 0.3), color, 1 - 0.1 * p.y, opacity=0.92, lit=False)
    elif kind in ("sun", "moon"):
        r = (p.x ** 2 + p.y ** 2).sqrt()
        if not p.flat:
            p.pixels = (p.pixels + (0.4 * (-(r ** 2) * 1.6).exp() * (r < 1.4))[:, None] * color[:, :, None, None]).clamp(0, 1)
        edge = circle(p, 0, 0, 0.72)
        if kind == "moon":
            edge = torch.where(chance < 0.5, torch.maximum(edge, 0.62 - ((p.x - 0.42) ** 2 + (p.y + 0.2) ** 2).sqrt()), edge)
        p.paint(edge, color, lit=False)
    elif kind == "glint":
        p.paint(circle(p, 0, 0, 0.6), color, opacity=0.85, shadow=False, lit=False)


def render(batch, device="cpu", style="plain", layouts=None, size=SIZE):
    """Scenes to pictures [N, 3, size, size] in 0..1. layouts: of the scenes, where they are known already."""
    layouts = layouts or [layout(scene) for scene in batch]
    out = torch.zeros(len(batch), 3, size, size, device=device)
    groups = {}
    for i, scene in enumerate(batch):
        groups.setdefault((scene.place, scene.time), []).append(i)
    for (place, time), rows in groups.items():
        out[rows] = _render_group([layouts[i] for i in rows], place, time, device, style in ("papercut", "line"), size)
    if style == "line":
        out = _line_drawing(out)
    elif style == "pixel":
        small = torch.nn.functional.avg_pool2d(out, size // 32)
        out = torch.nn.functional.interpolate((small * 8).round() / 8, scale_factor=float(size // 32))
    return out.clamp(0, 1)


def _render_group(layouts, place, time, device, flat, size):
    canvas = Canvas(len(layouts), device, flat, size)

    def draw_slots(chosen):
        for slot in range(max((len(s) for s in chosen), default=0)):
            kinds = {}
            for row, sprites in enumerate(chosen):
                if slot < len(sprites):
                    kinds.setdefault(sprites[slot].kind, []).append((row, sprites[slot]))
            for kind, entries in kinds.items():
                numbers = torch.tensor([(s.x, s.y, s.radius, s.chance, *s.color) for _, s in entries], device=device)
                rows = torch.tensor([row for row, _ in entries], device=device)
                patches = Patches(canvas, rows, numbers[:, 0], numbers[:, 1], numbers[:, 2], time)
                draw(SPRITES[kind], patches, numbers[:, 4:7], numbers[:, 3])
                patches.put()
    # Sun, moon, stars and clouds are behind the land.
    canvas.sky_done = lambda: draw_slots([sprites[:sky] for _, sprites, sky in layouts])
    _background(canvas, place, time, [b for b, _, _ in layouts], device)
    draw_slots([sprites[sky:] for _, sprites, sky in layouts])
    return canvas.pixels


def _line_drawing(flat):
    """Ink where the picture changes, and a breath of its colors."""
    gray = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(flat, (1, 1, 1, 1), mode="replicate"), 3, 1)
    right = (gray[:, :, :, 2:] - gray[:, :, :, :-2]).abs().sum(1)
    down = (gray[:, :, 2:, :] - gray[:, :, :-2, :]).abs().sum(1)
    change = torch.nn.functional.pad(right, (1, 1)) + torch.nn.functional.pad(down, (0, 0, 1, 1))
    ink = ((change - 0.12) / 0.3).clamp(0, 1)[:, None]
    paper = 1 - 0.22 * (1 - flat)
    return paper * (1 - ink) + 0.1 * ink


def write_png(path, pictures, columns=8):
    """A sheet of pictures [N, 3, H, W] in 0..1."""
    import struct
    import zlib
    pictures = (pictures.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    while len(pictures) % columns:
        pictures = torch.cat([pictures, pictures[-1:] * 0])
    n, _, h, w = pictures.shape
    sheet = pictures.view(n // columns, columns, 3, h, w).permute(0, 3, 1, 4, 2).reshape(n // columns * h, columns * w, 3)
    rows = b"".join(b"\0" + bytes(row.reshape(-1).tolist()) for row in sheet)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", columns * w, n // columns * h, 8, 2, 0, 0, 0)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 6)) + chunk(b"IEND", b""))


if __name__ == "__main__":
    import sys
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 7)
    style = sys.argv[3] if len(sys.argv) > 3 else "plain"
    batch = [scenes.random_scene(rng) for _ in range(32)]
    for scene in batch:
        print(scenes.caption(scene, rng))
    write_png(sys.argv[1], render(batch, style=style))
