"""What the pictures show: random scenes, the captions that tell of them, and the facts that a classifier is asked for.

A scene is either a *still life*, one to four objects of one kind or two of different kinds in a place, or a *landscape*,
perhaps with a house or a boat. Some combinations are kept out of training (`is_reserved`), and the test prompts are made
of them alone.
"""
import random
import zlib
from dataclasses import dataclass, field

COLORS = {
    "red": (214, 40, 40), "orange": (244, 134, 30), "yellow": (250, 212, 48), "green": (52, 160, 66),
    "blue": (42, 98, 212), "purple": (132, 60, 176), "pink": (246, 132, 178), "brown": (126, 78, 42),
    "white": (244, 244, 240), "black": (34, 34, 40),
}
OBJECTS = ["ball", "box", "cone", "star", "heart", "ring", "flower", "mushroom", "fish", "cup", "cat", "balloon"]
LANDSCAPE_OBJECTS = ["house", "boat"]
KINDS = OBJECTS + LANDSCAPE_OBJECTS
PLACES = ["table", "meadow", "beach", "snow", "desert", "plain", "mountains", "sea", "forest", "village", "lake"]
STILL_PLACES = PLACES[:6]
LANDSCAPES = ["mountains", "sea", "forest", "village", "lake", "desert", "meadow"]
TIMES = ["day", "sunset", "night"]
POSITIONS = ["left", "middle", "right"]
STYLES = ["plain", "papercut", "line", "pixel"]
NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}

SYNONYMS = {
    "ball": ["ball", "ball", "sphere"], "box": ["box", "box", "cube"], "cone": ["cone"], "star": ["star"],
    "heart": ["heart"], "ring": ["ring"], "flower": ["flower", "flower", "blossom"], "mushroom": ["mushroom"],
    "fish": ["fish"], "cup": ["cup", "cup", "mug"], "cat": ["cat", "cat", "kitten"], "balloon": ["balloon"],
    "house": ["house", "house", "cottage"], "boat": ["boat", "boat", "sailing boat", "ship"],
}
PLURALS = {"box": "boxes", "fish": "fish", "cat": "cats"}
AT_PLACE = {
    "table": ["on a table", "on a wooden table", "on the table"],
    "meadow": ["in a meadow", "on the grass", "on a green meadow", "in the grass"],
    "beach": ["on a beach", "on the beach", "on the sand by the sea", "by the ocean"],
    "snow": ["in the snow", "on snow", "in a winter landscape"],
    "desert": ["in the desert", "in a desert", "on desert sand"],
    "plain": ["", "", "on a plain background", "alone"],
}
LANDSCAPE_NAMES = {
    "mountains": ["mountains", "a mountain landscape", "high mountains", "a mountain range", "snowy mountains", "mountain peaks"],
    "sea": ["the sea", "the ocean", "a view of the sea", "an ocean", "waves on the sea"],
    "forest": ["a forest", "a forest of trees", "woods", "trees in a forest", "a pine forest"],
    "village": ["a village", "a small village", "a town", "houses in a village"],
    "lake": ["a lake", "a mountain lake", "a quiet lake", "a lake in the mountains"],
    "desert": ["a desert", "sand dunes", "a desert landscape", "dunes in the desert"],
    "meadow": ["a meadow", "green hills", "a green landscape", "fields and hills"],
}
AT_TIME = {
    "day": ["", "", "", "on a sunny day", "during the day", "under a blue sky", "at noon"],
    "sunset": ["at sunset", "at sunset", "in the evening", "at dusk", "under an orange sky"],
    "night": ["at night", "at night", "under the stars", "by moonlight", "under a night sky"],
}
AT_POSITION = {
    "left": ["on the left", "on the left side", "at the left"],
    "right": ["on the right", "on the right side", "at the right"],
    "middle": ["in the middle", "in the center", "", ""],
}
ADJECTIVES = ["majestic", "beautiful", "peaceful", "pretty", "nice", "lovely", "bright", "small", "big", "quiet", "wonderful", "simple"]
OPENINGS = ["", "", "", "", "a picture of ", "a painting of ", "an image of ", "a photo of ", "a drawing of "]
ENDINGS = ["", "", "", "", ", high quality", ", detailed", ", colorful", ", beautiful", ", 4k", ", digital art"]
STYLE_WORDS = {"plain": [""], "papercut": ["papercut", "paper cut style"], "line": ["line drawing", "line art"],
               "pixel": ["pixel art", "pixel style"]}


@dataclass
class Thing:
    """One kind of object in a scene, so many times."""
    kind: str
    color: str
    position: str
    count: int = 1


@dataclass
class Scene:
    place: str
    time: str
    things: list = field(default_factory=list)
    sky: str = "clear"  # or "cloudy"
    light: str = "none"  # where sun or moon stands: none, left, middle, right
    relation: str = ""  # of two things: the first is left or right of the second
    seed: int = 0


def is_reserved(scene):
    """Kept out of training: a tenth of the combinations of kind, color and place, of kind, color and position, and of
    landscape, time and color."""
    for thing in scene.things:
        for key in ((thing.kind, thing.color, scene.place), (thing.kind, thing.color, thing.position)):
            if zlib.crc32("/".join(key).encode()) % 10 == 0:
                return True
    return False


def random_scene(rng, reserved=False):
    """A scene of training (or, reserved, one that training never shows)."""
    while True:
        scene = _landscape(rng) if rng.random() < 0.4 and not reserved else _any(rng, reserved)
        if is_reserved(scene) == reserved:
            return scene


def _any(rng, reserved):
    if reserved and rng.random() < 0.25:
        return _landscape(rng, with_thing=True)
    return _still_life(rng, single=reserved)


def _still_life(rng, single=False):
    place = rng.choice(STILL_PLACES)
    scene = Scene(place, "day", seed=rng.getrandbits(31))
    if place in ("meadow", "beach", "snow", "desert"):
        scene.time = rng.choices(TIMES, [3, 1, 1])[0]
        scene.sky = rng.choice(["clear", "cloudy"])
        scene.light = rng.choice(["none", "left", "right"])
    kind, color = rng.choice(OBJECTS), rng.choice(list(COLORS))
    variety = 0 if single else rng.random()
    if variety < 0.55:
        scene.things = [Thing(kind, color, rng.choice(POSITIONS))]
    elif variety < 0.75:
        scene.things = [Thing(kind, color, "middle", rng.randint(2, 4))]
    else:
        other = rng.choice([k for k in OBJECTS if k != kind])
        left = rng.random() < 0.5
        scene.things = [Thing(kind, color, "left" if left else "right"),
                        Thing(other, rng.choice(list(COLORS)), "right" if left else "left")]
        scene.relation = rng.choice(["and", "left" if left else "right"])
    return scene


def _landscape(rng, with_thing=False):
    scene = Scene(rng.choice(LANDSCAPES), rng.choices(TIMES, [2, 1, 1])[0], seed=rng.getrandbits(31))
    scene.sky = rng.choice(["clear", "cloudy"])
    scene.light = rng.choice(["none", "left", "middle", "right"])
    if scene.place == "village":
        scene.things = [Thing("house", rng.choice(list(COLORS)), "middle", 3)]
    elif with_thing or rng.random() < 0.4:
        kind = "boat" if scene.place in ("sea", "lake") else "house"
        scene.things = [Thing(kind, rng.choice(list(COLORS)), rng.choice(POSITIONS))]
    return scene


def caption(scene, rng, style="plain", plain_words=False):
    """One of the many ways to say it. plain_words: without adornment, and nothing left unsaid that facts() asks for."""
    parts = [_subject(scene, rng, plain_words)]
    time = rng.choice(AT_TIME[scene.time])
    if time and scene.place not in ("table", "plain"):
        parts.append(time)
    text = " ".join(p for p in parts if p)
    if not plain_words:
        text = rng.choice(OPENINGS) + text
    if scene.light != "none" and scene.place not in ("table", "plain") and rng.random() < 0.5:
        light = "moon" if scene.time == "night" else "sun"
        where = {"left": " on the left", "right": " on the right", "middle": ""}[scene.light]
        text += rng.choice([f", the {light}{where}", f", with the {light}{where}"])
    if scene.sky == "cloudy" and scene.time != "night" and scene.place not in ("table", "plain") and rng.random() < 0.5:
        text += rng.choice([", clouds", ", cloudy sky", ", with clouds"])
    word = rng.choice(STYLE_WORDS[style])
    if word and rng.random() < 0.5:
        text += f", {word}"
    return text + ("" if plain_words else rng.choice(ENDINGS))


def _article(words):
    return ("an " if words[0] in "aeiou" else "a ") + words


def _named(thing, rng, plain_words):
    name = rng.choice(SYNONYMS[thing.kind])
    if thing.count > 1:
        plural = PLURALS.get(name, name + "s")
        number = NUMBERS[thing.count] if thing.kind in OBJECTS else rng.choice(["", "some"])
        return f"{number} {thing.color} {plural}".strip()
    adjective = rng.choice(ADJECTIVES) + " " if not plain_words and rng.random() < 0.12 else ""
    return _article(f"{adjective}{thing.color} {name}")


def _subject(scene, rng, plain_words):
    if scene.place in LANDSCAPES and (not scene.things or scene.things[0].kind in LANDSCAPE_OBJECTS):
        return _landscape_words(scene, rng, plain_words)
    first = scene.things[0]
    place = rng.choice(AT_PLACE[scene.place])
    if len(scene.things) == 2:
        a, b = (_named(t, rng, plain_words) for t in scene.things)
        if scene.relation == "and":
            text = f"{a} {rng.choice(['and', 'next to', 'beside'])} {b}"
        else:
            text = f"{a} {rng.choice(['to the', 'on the', ''])} {scene.relation} of {b}".replace("  ", " ")
        return f"{text} {place}".strip()
    where = "" if first.count > 1 else rng.choice(AT_POSITION[first.position])
    words = [_named(first, rng, plain_words), place, where] if rng.random() < 0.5 else [_named(first, rng, plain_words), where, place]
    return " ".join(w for w in words if w)


def _landscape_words(scene, rng, plain_words):
    name = rng.choice(LANDSCAPE_NAMES[scene.place])
    if not plain_words and rng.random() < 0.25:
        article, _, rest = name.partition(" ")
        adjective = rng.choice(ADJECTIVES)
        name = _article(f"{adjective} {rest}") if article in ("a", "an") else f"{adjective} {name}" if article != "the" else f"the {adjective} {rest}"
    if not scene.things:
        return name
    thing = scene.things[0]
    if scene.place == "village":
        return f"{name} with {thing.color} houses" if name != "houses in a village" else f"{thing.color} {name}"
    preposition = "on" if scene.place in ("sea", "lake") else "in"
    where = rng.choice(AT_POSITION[thing.position])
    subject = _named(thing, rng, plain_words)
    if rng.random() < 0.5:
        return " ".join(w for w in (name, "with", subject, where) if w)
    return " ".join(w for w in (subject, where, preposition if "view" not in name else "and", name) if w)


def facts(scene):
    """What a classifier is asked for: {"pairs": [(kind, color)], "positions": [(kind, position)], "place", "time"}."""
    positions = []
    for thing in scene.things:
        if thing.count == 1:
            positions.append((thing.kind, thing.position))
    return {"pairs": [(t.kind, t.color) for t in scene.things], "positions": positions, "place": scene.place, "time": scene.time}


def all_words():
    """Every word that a caption can have."""
    words = set("a an the and next to beside of on in with alone under by".split())
    for group in (SYNONYMS, AT_PLACE, LANDSCAPE_NAMES, AT_TIME, AT_POSITION, STYLE_WORDS):
        for phrases in group.values():
            for phrase in phrases:
                words.update(phrase.replace(",", " ,").split())
    words.update(COLORS, ADJECTIVES, NUMBERS.values(), POSITIONS, LANDSCAPES, PLACES, TIMES, KINDS)
    words.update(PLURALS.values(), *(("moon", "sun", "cloudy", "sky", "clouds", "some", "side", "view"),))
    for names in SYNONYMS.values():
        words.update(PLURALS.get(n, n + "s") for n in names)
    for phrase in OPENINGS + ENDINGS:
        words.update(phrase.replace(",", " , ").split())
    # Words that people use and captions do not have to.
    words.update("style art light color colors water tree trees mountain river hill hills sky blue summer winter spring"
                 " autumn animal tiny large huge two landscape background . ! scenery nature".split())
    return sorted(w for w in words if w)


if __name__ == "__main__":
    rng = random.Random(1)
    for _ in range(30):
        scene = random_scene(rng)
        print(caption(scene, rng), "|", facts(scene))
