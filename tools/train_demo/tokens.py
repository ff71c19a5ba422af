"""CLIP's token ids for the words of captions.

A text is lower-cased and cut into words, and every word is joined from its bytes by itself, so that a table of words is all
that training needs. The merges are those that the build unpacks (text/clip_merges.inc).
"""
import json
import re
import sys

START, END, LENGTH = 49406, 49407, 77
WORD = re.compile(r"[a-z]+|[0-9]|[^\sa-z0-9]+")


def read_merges(path):
    """{(left, right): merged} from text/clip_merges.inc."""
    pairs = re.findall(r"\{(\d+),(\d+)\}", open(path).read())
    return {(int(a), int(b)): 512 + rank for rank, (a, b) in enumerate(pairs)}


def word_tokens(word, merges):
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    order = printable + [b for b in range(256) if b not in printable]
    tokens = [order.index(b) for b in word.encode()]
    tokens[-1] += 256
    while True:
        merged = [(merges[pair], i) for i, pair in enumerate(zip(tokens, tokens[1:])) if pair in merges]
        if not merged:
            return tokens
        token, at = min(merged)
        tokens[at:at + 2] = [token]


def write_table(merges_path, words, path):
    merges = read_merges(merges_path)
    pieces = sorted({piece for word in words for piece in WORD.findall(word.lower())})
    json.dump({piece: word_tokens(piece, merges) for piece in pieces}, open(path, "w"))


class Tokenizer:
    """Captions to rows of a table that has only the tokens that occur, `ids` in order, and a last row for all others."""
    def __init__(self, table_path):
        self.words = json.load(open(table_path))
        # 0 pads the second text encoder's windows, as for SDXL.
        self.ids = sorted({0, START, END} | {t for tokens in self.words.values() for t in tokens})
        self.row = {token: i for i, token in enumerate(self.ids)}
        self.unknown = len(self.ids)
        self.rows = len(self.ids) + 1

    def __call__(self, text, rng=None):
        """(rows, end): without padding. rng: with strangers among the words now and then, which are to be ignored."""
        rows = [self.row[START]]
        for word in WORD.findall(text.lower()):
            rows += [self.row[t] for t in self.words[word]] if word in self.words else [self.unknown]
            if rng and rng.random() < 0.03:
                rows += [self.unknown] * rng.randint(1, 2)
        rows = rows[:LENGTH - 1] + [self.row[END]]
        return rows, len(rows) - 1


if __name__ == "__main__":
    import scenes
    write_table(sys.argv[1], scenes.all_words(), sys.argv[2])
    print(Tokenizer(sys.argv[2]).rows, "rows")
