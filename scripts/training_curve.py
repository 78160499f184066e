#!/usr/bin/env python3
"""Draws the loss and the validation mIoU of training runs over their epochs, as an SVG.

    scripts/training_curve.py runs/camvid/metrics.jsonl --out docs/images/training-curve.svg

Several files are laid over one another; with --append each run begins where the one before it ended.
"""

import argparse
import json
import math
import pathlib
import sys
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 860, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 70, 56, 60
# Colours that people with any colour vision tell apart; the first pair is the first run's loss and mIoU.
COLOURS = [("#0072b2", "#d55e00"), ("#56b4e9", "#e69f00"), ("#009e73", "#cc79a7"), ("#666666", "#000000")]
LOSS, MIOU = 0, 1


def read(path):
    """The points (epoch, loss) and (epoch, mIoU) of a metrics file."""
    loss, miou = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            entry = json.loads(line)
            kind, epoch = entry["kind"], entry["epoch"]
        except (ValueError, KeyError, TypeError):
            sys.exit(f"{path}, line {number}: not a line of training metrics")
        if kind == "epoch" and entry["loss"] is not None:
            loss.append((epoch, entry["loss"]))
        elif kind == "validation" and entry["mIoU"] is not None:
            miou.append((epoch, entry["mIoU"]))
    if not loss and not miou:
        sys.exit(f"{path}: no epoch is complete yet")
    return loss, miou


def ticks(low, high, count=6):
    """Round numbers from low to high, about so many."""
    step = 10 ** math.floor(math.log10((high - low) / count))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= count)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def number(value):
    return f"{value:.4f}".rstrip("0").rstrip(".")


class Drawing:
    """An SVG with one horizontal axis and two vertical ones."""

    def __init__(self, epochs, loss_range):
        self.parts = []
        self.epochs = epochs
        self.ranges = {LOSS: loss_range, MIOU: (0, 1)}

    def x(self, epoch):
        return LEFT + (WIDTH - LEFT - RIGHT) * epoch / self.epochs

    def y(self, axis, value):
        low, high = self.ranges[axis]
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low)

    def line(self, x1, y1, x2, y2, style):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>')

    def text(self, x, y, text, anchor="middle", more=""):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(text)}</text>')

    def curve(self, axis, points, colour):
        path = " ".join(f"{self.x(epoch):.1f},{self.y(axis, value):.1f}" for epoch, value in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8" stroke-linejoin="round"/>')
        if len(points) == 1:
            epoch, value = points[0]
            self.parts.append(f'<circle cx="{self.x(epoch):.1f}" cy="{self.y(axis, value):.1f}" r="3" fill="{colour}"/>')

    def axes(self):
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        for value in ticks(*self.ranges[MIOU]):
            y = self.y(MIOU, value)
            self.line(LEFT, y, right, y, 'stroke="#e2e2e2"')
            self.text(right + 8, y + 4, number(value), "start")
        for value in ticks(*self.ranges[LOSS]):
            y = self.y(LOSS, value)
            self.line(LEFT - 5, y, LEFT, y, 'stroke="#555"')
            self.text(LEFT - 9, y + 4, number(value), "end")
        for value in ticks(0, self.epochs, 10):
            x = self.x(value)
            self.line(x, bottom, x, bottom + 5, 'stroke="#555"')
            self.text(x, bottom + 20, number(value))
        self.parts.append(
            f'<rect x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{bottom - TOP}" fill="none" stroke="#555"/>')
        middle = (TOP + bottom) / 2
        self.text((LEFT + right) / 2, HEIGHT - 16, "epoch")
        self.text(20, middle, "training loss", more=f'transform="rotate(-90 20 {middle})"')
        self.text(WIDTH - 18, middle, "validation mIoU", more=f'transform="rotate(90 {WIDTH - 18} {middle})"')

    def legend(self, entries):
        x = LEFT
        for label, colour in entries:
            self.line(x, 40, x + 24, 40, f'stroke="{colour}" stroke-width="3"')
            self.text(x + 30, 44, label, "start")
            x += 30 + 7 * len(label) + 24

    def svg(self, title):
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            'font-family="sans-serif" font-size="12" fill="#222">',
            f"<title>{escape(title)}</title>",
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="{LEFT}" y="24" font-size="15" font-weight="bold">{escape(title)}</text>',
            *self.parts, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("metrics", nargs="+", type=pathlib.Path, help="metrics.jsonl of each run")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="the SVG to write")
    parser.add_argument("--title", default="Training", help="heading of the picture")
    parser.add_argument("--names", nargs="+", help="a name for each run; by default its folder's")
    parser.add_argument("--append", action="store_true", help="each run begins where the one before it ended")
    options = parser.parse_args()
    names = options.names or [path.resolve().parent.name for path in options.metrics]
    if len(names) != len(options.metrics):
        parser.error(f"{len(names)} names for {len(options.metrics)} runs")

    runs, begin = [], 0
    for path in options.metrics:
        if not path.is_file():
            sys.exit(f"{path}: no such file")
        curves = read(path)
        runs.append([[(epoch + begin, value) for epoch, value in points] for points in curves])
        if options.append:
            begin = max(epoch for points in runs[-1] for epoch, _ in points)

    epochs = max(epoch for run in runs for points in run for epoch, _ in points)
    losses = [value for run in runs for _, value in run[LOSS]] or [1]
    drawing = Drawing(epochs, (0, 1.05 * max(losses) or 1))
    drawing.axes()
    legend = []
    for i, (name, run) in enumerate(zip(names, runs)):
        for axis, what in ((LOSS, "loss"), (MIOU, "mIoU")):
            if not run[axis]:
                continue
            colour = COLOURS[i % len(COLOURS)][axis]
            drawing.curve(axis, run[axis], colour)
            legend.append((what if len(runs) == 1 else f"{name}: {what}", colour))
    drawing.legend(legend)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(drawing.svg(options.title), encoding="utf-8")


if __name__ == "__main__":
    main()
