"""Draws learning curves and points as SVG with matplotlib, which `scripts/setup plots` installs."""
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


def pyplot_for_svg():
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "hedgehog", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot
    return pyplot


def finish(axes):
    axes.grid(alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def save(path, figure):
    """The same drawing gives the same file."""
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot_for_svg().close(figure)


def draw_lines(path, panels, x_label, logarithmic=False):
    """Panels side by side; `panels`: {label of y: {name: [(x, y), ...]}}, of the same names; `logarithmic`: both axes."""
    figure, all_axes = pyplot_for_svg().subplots(1, len(panels), figsize=(2 + 5 * len(panels), 4.2), squeeze=False, layout="constrained")
    for axes, (y_label, lines) in zip(all_axes[0], panels.items()):
        for name, points in lines.items():
            axes.plot(*zip(*points), label=name, linewidth=1.4)
        axes.set(xlabel=x_label, ylabel=y_label, **({"xscale": "log", "yscale": "log"} if logarithmic else {}))
        finish(axes)
    all_axes[0][0].legend()
    save(path, figure)


def draw_points(path, panels, y_label):
    """Panels side by side; `panels`: {label of x: {name: [(x, y), ...]}}."""
    figure, all_axes = pyplot_for_svg().subplots(1, len(panels), figsize=(3.4 * len(panels), 3.4), sharey=True, layout="constrained")
    for axes, (x_label, clouds) in zip(all_axes, panels.items()):
        for name, points in clouds.items():
            axes.scatter(*zip(*points), label=name, s=9, alpha=0.7)
        axes.set(xlabel=x_label)
        finish(axes)
    all_axes[0].set(ylabel=y_label)
    all_axes[-1].legend(fontsize=7)
    save(path, figure)
