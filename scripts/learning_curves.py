"""Draws learning curves as SVG with matplotlib, which `scripts/setup plots` installs."""
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / ".deps/plots"))


def smoothed(points, count=60):
    """Means of consecutive points, about `count` of them."""
    size = max(1, len(points) // count)
    blocks = [points[i:i + size] for i in range(0, len(points) - size + 1, size)]
    return [tuple(sum(values) / len(block) for values in zip(*block)) for block in blocks]


def available():
    try:
        import matplotlib  # noqa: F401
        return True
    except ImportError:
        return False


def draw(path, lines, x_label, y_label):
    """`lines`: {name: [(x, y), ...]}. The same lines give the same file."""
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "hedgehog", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for name, points in lines.items():
        axes.plot(*zip(*points), label=name, linewidth=1.4)
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.3)
    axes.legend()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
