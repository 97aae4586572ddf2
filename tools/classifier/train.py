#!/usr/bin/env python3
"""Trains the classifier that the server has built in, from texts that rules make.

Writes ../../crates/moderation/data/classifier.bin and prints precision and recall on held-out templates and on heldout.tsv, which
nothing is trained on. Needs Python alone. The same features are computed by crates/moderation/src/classifier.rs.

    python3 tools/classifier/train.py
"""

import math
import random
import struct
from pathlib import Path

import texts

HERE = Path(__file__).parent
OUT = HERE / "../../crates/moderation/data/classifier.bin"
LABELS = ["spam", "insult", "sexual"]
BUCKETS = 1 << 16
GRAMS = (1, 2, 3, 4)
TRAINED = 9_000  # texts of each class
EPOCHS = 6
L2 = 2e-6


def fold(text):
    """Lower case, full width as half width, digits as 0, spaces as one, a letter at most three times."""
    out = []
    for c in text.lower():
        n = ord(c)
        if 0xFF01 <= n <= 0xFF5E:
            c = chr(n - 0xFEE0).lower()
        if c.isspace():
            c = " "
        if c in "0123456789":
            c = "0"
        if c == " " and out and out[-1] == " ":
            continue
        if len(out) >= 3 and out[-1] == out[-2] == out[-3] == c:
            continue
        out.append(c)
    return "".join(out).strip()


def features(text):
    """Buckets of the text's character n-grams, each once."""
    folded = "^" + fold(text) + "$"
    found = set()
    for n in GRAMS:
        for i in range(len(folded) - n + 1):
            hashed = 0x811C9DC5 ^ n
            for byte in folded[i : i + n].encode():
                hashed = ((hashed ^ byte) * 0x01000193) & 0xFFFFFFFF
            found.add((hashed ^ (hashed >> 16)) % BUCKETS)
    return sorted(found)


def score(weights, bias, buckets):
    scale = 1 / math.sqrt(len(buckets)) if buckets else 0
    z = bias + scale * sum(weights[b] for b in buckets)
    return 1 / (1 + math.exp(-max(-30, min(30, z))))


def train(rows, label):
    weights, bias = [0.0] * BUCKETS, 0.0
    order = list(range(len(rows)))
    chance = random.Random(7)
    positive = sum(label in row[1] for row in rows)
    ratio = (len(rows) - positive) / max(1, positive)
    for epoch in range(EPOCHS):
        chance.shuffle(order)
        rate = 2.0 / (1 + epoch)
        for i in order:
            buckets, labels = rows[i]
            wanted = label in labels
            error = (1.0 if wanted else 0.0) - score(weights, bias, buckets)
            step = rate * error * (min(ratio, 3) if wanted else 1)
            bias += 0.02 * step
            scale = step / math.sqrt(len(buckets))
            for b in buckets:
                weights[b] += scale - rate * L2 * weights[b]
    return weights, bias


def calibrate(weights, bias, rows, label):
    """Shifts the bias so that 0.5 is the score with the best F1, precision counted twice."""
    scored = sorted(((score(weights, bias, buckets), label in labels) for buckets, labels in rows), reverse=True)
    positive = sum(is_positive for _, is_positive in scored)
    best, cut, hits = -1.0, 0.5, 0
    for n, (value, is_positive) in enumerate(scored, 1):
        hits += is_positive
        precision, recall = hits / n, hits / max(1, positive)
        f = 1.25 * precision * recall / max(1e-9, 0.25 * precision + recall)
        if f > best:
            best, cut = f, value
    cut = min(0.95, max(0.3, cut - 0.02))
    return bias - math.log(cut / (1 - cut))


def report(name, model, rows):
    for language in ("zh", "en"):
        for label in LABELS:
            weights, bias = model[label]
            hits = misses = alarms = 0
            for text, labels, of in rows:
                if of != language:
                    continue
                found = score(weights, bias, features(text)) >= 0.5
                hits += found and label in labels
                misses += not found and label in labels
                alarms += found and label not in labels
            precision, recall = hits / max(1, hits + alarms), hits / max(1, hits + misses)
            print(f"{name} {language} {label:7} precision {precision:.3f} recall {recall:.3f} n={hits + misses}")


def main():
    made = texts.make(TRAINED)
    rows = [(features(text), labels) for text, labels, _ in made]
    kept_back = texts.make(1_500, held_out=True)
    calibrating = [(features(text), labels) for text, labels, _ in texts.make(1_500, seed=3)]
    model = {}
    for label in LABELS:
        weights, bias = train(rows, label)
        model[label] = weights, calibrate(weights, bias, calibrating, label)
    OUT.parent.mkdir(exist_ok=True)
    with OUT.open("wb") as out:
        out.write(b"BCL1" + struct.pack("<I", BUCKETS))
        for label in LABELS:
            weights, bias = model[label]
            unit = max(abs(weight) for weight in weights) / 127
            out.write(struct.pack("<ff", bias, unit))
            rounded = [max(-127, min(127, round(weight / unit))) for weight in weights]
            out.write(struct.pack(f"<{BUCKETS}b", *rounded))
            model[label] = [weight * unit for weight in rounded], bias
    report("held-out templates", model, kept_back)
    lines = [line.split("\t") for line in (HERE / "heldout.tsv").read_text().splitlines() if line]
    report("written by hand", model, [(text, set(labels.split(",")) - {""}, of) for of, labels, text in lines])


if __name__ == "__main__":
    main()
