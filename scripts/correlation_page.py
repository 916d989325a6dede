"""Tables of how the points of an experiment's recipe (its [points]) correlate: rank and partial rank correlations of the score with each measure of
the attention's weights, bootstrap intervals, and what is left of their significance after Holm's correction."""
import math
import random

import plots

# What is held against the score, from a point's measures: larger is what should be better.
MEASURES = {
    "spikes": lambda point: -point["entropy"],
    "spikes like softmax's": lambda point: -abs(point["entropy"] - point["entropy_softmax"]),
    "order": lambda point: point["monotonicity"],
    "likeness": lambda point: -point["kl"],
}
# (measure, what is held fixed): the rows of the tables.
ROWS = [("spikes", None), ("spikes like softmax's", None), ("order", None), ("likeness", None), ("spikes", "order"), ("spikes like softmax's", "order"),
        ("order", "spikes"), ("order", "spikes like softmax's")]
RESAMPLES = 2000
LEGEND = f"""
A point is a model: its score on its task, and its heads' weights beside softmax's on the same queries and keys, means over all heads. Spikes: less entropy;
spikes like softmax's: a smaller difference of the entropies, either way; order: Spearman correlation of a row's weights with its q·k (monotonicity); likeness:
less KL from softmax. ρ: Spearman's rank correlation with the score, "given": partial, with the ranks of another measure held fixed. All tasks together: ranks
within each task. Intervals: 95 %, {RESAMPLES} bootstrap samples of the points within tasks. p: Fisher's z, times Holm's factor over every row of this page. The points of a
task are one trained model's maps, altered: they are not independent draws of models, and the intervals say nothing about other models or tasks.
"""


def ranks(values):
    """1 to n, ties at their mean."""
    order = sorted(range(len(values)), key=values.__getitem__)
    result = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for place in order[start:end + 1]:
            result[place] = (start + end) / 2 + 1
        start = end + 1
    return result


def pearson(x, y):
    """0 where one of them does not vary."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    xx = sum((a - mean_x) ** 2 for a in x)
    yy = sum((b - mean_y) ** 2 for b in y)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y)) / math.sqrt(xx * yy) if xx > 0 and yy > 0 else 0.0


def centred_ranks(groups, value):
    """Of each group's points among themselves, from −½ to ½, joined."""
    joined = []
    for points in groups:
        found = ranks([value(point) for point in points])
        joined += [(rank - (len(points) + 1) / 2) / len(points) for rank in found]
    return joined


def correlation(groups, measure, fixed):
    """Spearman's ρ of score and measure over the groups; partial where a measure is held fixed."""
    score, x = centred_ranks(groups, lambda point: point["score"]), centred_ranks(groups, MEASURES[measure])
    rho = pearson(score, x)
    if fixed is None:
        return rho
    z = centred_ranks(groups, MEASURES[fixed])
    score_z, x_z = pearson(score, z), pearson(x, z)
    rest = (1 - score_z**2) * (1 - x_z**2)
    return (rho - score_z * x_z) / math.sqrt(rest) if rest > 1e-12 else 0.0


def interval(groups, measure, fixed):
    """95 % percentile interval over resampled points."""
    drawn = random.Random(0)
    found = sorted(correlation([drawn.choices(points, k=len(points)) for points in groups], measure, fixed) for _ in range(RESAMPLES))
    return found[round(0.025 * RESAMPLES)], found[round(0.975 * RESAMPLES) - 1]


def p_value(rho, count, fixed):
    """Two-sided, of Fisher's z."""
    free = count - 3 - (fixed is not None)
    return math.erfc(abs(math.atanh(max(-0.999999, min(0.999999, rho)))) * math.sqrt(max(free, 1)) / math.sqrt(2))


def holm(values):
    """p values corrected for their number (Holm 1979), in the same order."""
    order = sorted(range(len(values)), key=values.__getitem__)
    result, largest = [0.0] * len(values), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - place) * values[index]))
        result[index] = largest
    return result


def points_of(records):
    """{task: [point]}; a point without a score has its perplexity's negative for one. What an alteration leaves as it was (a map's scale, of relu) is
    one point."""
    tasks = {}
    for record in records:
        for values in record["result"].get("points", {}).values():
            score = values["score"] if "score" in values else -values["perplexity"]
            points = tasks.setdefault(record["task"], [])
            if (point := {**values, "score": score}) not in points:
                points.append(point)
    return tasks


def table(groups):
    """[(measure, fixed, ρ, interval, p)]."""
    count = sum(map(len, groups))
    rows = []
    for measure, fixed in ROWS:
        rho = correlation(groups, measure, fixed)
        rows.append([measure, fixed, rho, interval(groups, measure, fixed), p_value(rho, count, fixed)])
    return rows


def verdict(name, rows_of_tasks, together):
    """A sentence on whether `name` goes with the score when the other property is held fixed."""
    measure, fixed = name
    chosen = [next(row for row in rows if (row[0], row[1]) == name) for rows in rows_of_tasks]
    holds = sum(row[3][0] > 0 and row[4] < 0.05 for row in chosen)
    rho, (low, high), p = next(row[2:] for row in together if (row[0], row[1]) == name)
    says = "holds" if low > 0 and p < 0.05 else "is contradicted" if high < 0 and p < 0.05 else "is not shown"
    return (f"- **{measure[0].upper() + measure[1:]}, with {fixed} held fixed,** go{'es' if measure == 'order' else ''} with a better score: {says} "
            f"over all tasks (ρ {rho:+.2f}, {low:+.2f} to {high:+.2f}), and by itself in {holds} of {len(chosen)} tasks.")


def lines_of(records, name, pages):
    tasks = points_of(records)
    if not tasks:
        return []
    tables = {"All tasks": table(list(tasks.values())), **{task: table([points]) for task, points in tasks.items()}}
    corrected = iter(holm([row[4] for rows in tables.values() for row in rows]))
    for rows in tables.values():
        for row in rows:
            row[4] = next(corrected)
    counts = {"All tasks": sum(map(len, tasks.values())), **{task: len(points) for task, points in tasks.items()}}
    by_task = [tables[task] for task in tasks]
    lines = ["## What holds", "", *(verdict(question, by_task, tables["All tasks"]) for question in ROWS if question[1]), ""]
    for title, rows in tables.items():
        lines += [f"## {title}", "", f"{counts[title]} points.", "", "| measure | given | ρ | 95 % interval | p, corrected |", "|---|---|---:|---:|---:|"]
        for measure, fixed, rho, (low, high), p in rows:
            lines.append(f"| {measure} | {fixed or ''} | {rho:+.3f} | {low:+.3f} to {high:+.3f} | {'< 0.001' if p < 0.001 else f'{p:.3f}'} |")
        lines.append("")
    if plots.available():
        panels = {}
        for measure in ("spikes", "spikes like softmax's", "order"):
            panels[f"{measure}, rank"] = {task: list(zip(centred_ranks([points], MEASURES[measure]), centred_ranks([points], lambda point: point["score"])))
                                          for task, points in tasks.items()}
        plots.draw_points(pages / f"{name}.svg", panels, "score, rank within its task")
        lines += [f"![score against spikes and order]({name}.svg)", ""]
    return [*lines, LEGEND.strip(), ""]
