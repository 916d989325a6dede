"""The page of an experiment's results, docs/results/NAME.md, its figures as NAME.json, and the page of what was asked of all experiments."""
import json
import math
import statistics
import sys
import tomllib
from pathlib import Path

import correlation_page
import plots

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs/results"
# Two-sided 95 % quantiles of Student's t for 1, 2, … degrees of freedom.
T95 = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093]


def interval(values):
    """(mean, half of the 95 % interval); no interval for one value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, None
    return mean, T95[min(len(values) - 2, len(T95) - 1)] * statistics.stdev(values) / math.sqrt(len(values))


def written(pair, factor=1, digits=2):
    mean, half = pair
    return f"{mean * factor:.{digits}f}" + ("" if half is None else f" ± {half * factor:.{digits}f}")


def pick(result, path):
    """What stands under the keys of "a.b.0", in a list of stages also under a stage's name; None where one of them is missing."""
    for key in path.split("."):
        if isinstance(result, list):
            named = {stage["stage"]: stage for stage in result if isinstance(stage, dict) and "stage" in stage}
            result = named | {str(i): element for i, element in enumerate(result)}
        if not isinstance(result, dict) or key not in result:
            return None
        result = result[key]
    return result


def columns_of(recipe):
    """{title: {"path", "factor", "digits"}}; a recipe may say the path alone."""
    return {title: {"factor": 100 if title.endswith("(%)") else 1, "digits": 2 if title.endswith("(%)") else 3,
                    **(column if isinstance(column, dict) else {"path": column})} for title, column in recipe.get("columns", {}).items()}


def seconds_of(result):
    """Of the processes: of one that went on where another was stopped, at least what all its steps took."""
    trained = result.get("trained", result).get("training", [])
    return max(result["seconds"], sum(stage.get("seconds", 0) for stage in trained))


def curve_points(log, curve):
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return plots.smoothed([(line[curve["x"]], line[curve["y"]]) for line in lines if line.get("stage") == curve["stage"]])


def points_of_cases(recipe, result):
    """{case: {name: value}} of the recipe's [points]: those that are there."""
    found = {}
    for case in recipe.get("eval", {}).get("case", []) if "points" in recipe else []:
        values = {name: pick(result.get(case["name"], {}), path) for name, path in recipe["points"].items()}
        if values := {name: value for name, value in values.items() if value is not None}:
            found[case["name"]] = values
    return found


def record(recipe, task, run, seed, result, log):
    """What pages need of a run: the measured values that the recipe names, its time and circumstances, its learning curve."""
    kept = {"seconds": seconds_of(result), "run": result["run"]}
    if dtype := pick(result, "recipe.dtype") or pick(result, "trained.recipe.dtype"):
        kept["run"] = {**kept["run"], "dtype": dtype}
    if "processor_seconds" in result:
        kept["processor_seconds"] = result["processor_seconds"]
    if "failed" in result:
        kept["failed"] = result["failed"]
    if points := points_of_cases(recipe, result):
        kept["points"] = points
    for path in (recipe.get("metric"), recipe.get("interval"), *(column["path"] for column in columns_of(recipe).values())):
        if path and (value := pick(result, path)) is not None:
            *parents, last = path.split(".")
            place = kept
            for key in parents:
                place = place.setdefault(key, {})
            place[last] = value
    made = {"task": task, "run": run, "seed": seed, "result": kept}
    if "curve" in recipe and log.exists() and (points := curve_points(log, recipe["curve"])):
        made["curve"] = [[float(f"{value:.5g}") for value in point] for point in points]
    return made


def draw_curves(recipe, name, task, records):
    """The page's line for a plot of each run's first seed; none without matplotlib."""
    curves = {}
    for record in records:
        if record["task"] == task and "curve" in record:
            curves.setdefault(record["run"], record["curve"])
    if not curves:
        return []
    if not plots.available():
        print("experiment: no curves are drawn: scripts/setup plots", file=sys.stderr)
        return []
    curve = recipe["curve"]
    file = f"{name}-{task}.svg"
    plots.draw_lines(PAGES / file, {curve["label"]: curves}, curve["x"])
    return [f"![{curve['label']} against {curve['x']}]({file})", ""]


def cases_of(recipe, task, results):
    """One a run: its mean, how it stands to the reference and between it and the gap's other end, in the recipe's order."""
    metric, reference, gap = recipe["metric"], recipe.get("reference"), recipe.get("gap")
    values = {run: [value for result in found if (value := pick(result, metric)) is not None] for run, found in results.items()}
    means = {run: statistics.fmean(found) for run, found in values.items() if found}
    for run, found in results.items():
        if run not in means:
            continue
        found = [result for result in found if pick(result, metric) is not None]
        mean, half = interval([pick(result, metric) for result in found])
        case = {"task": task, "run": run, "metric": metric, "mean": mean, "half_interval": half, "seeds": len(found)}
        if half is None and "interval" in recipe:
            case["half_interval"] = pick(found[0], recipe["interval"])
        if reference in means:
            case["share"] = mean / means[reference]
            if gap in means:
                case["gap_closed"] = (means[gap] - mean) / (means[gap] - means[reference])
        yield case


def task_lines(recipe, task, cases, results):
    reference, gap, columns = recipe.get("reference"), recipe.get("gap"), columns_of(recipe)
    metric = recipe["metric"]
    label = recipe.get("label", metric.rsplit(".", 1)[-1]) + (" (%)" if recipe.get("percent") else "")
    has_share, has_gap = any("share" in case for case in cases), any("gap_closed" in case for case in cases)
    titles = [label, *([f"÷ {reference}"] if has_share else []), *([f"gap to {gap} closed (%)"] if has_gap else []), *columns, "core-minutes", "seeds"]
    lines = [f"## {task}", "", "| | " + " | ".join(titles) + " |", "|---|" + "---:|" * len(titles)]
    for case in cases:
        found = [result for result in results[case["run"]] if "failed" not in result]
        row = [case["run"], written((case["mean"], case["half_interval"]), 100 if recipe.get("percent") else 1, recipe.get("digits", 2))]
        row += [f"{case['share']:.3f}"] if has_share else []
        row += [f"{case['gap_closed'] * 100:.1f}"] if has_gap else []
        for column in columns.values():
            values = [pick(result, column["path"]) for result in found]
            row.append("" if None in values else written(interval(values), column["factor"], column["digits"]))
        row += [f"{statistics.fmean(map(core_seconds, found)) / 60:.1f}", str(len(found))]
        lines.append("| " + " | ".join(row) + " |")
    for run, found in results.items():
        if failed := sum("failed" in result for result in found):
            lines.append("| " + " | ".join([run, "diverged", *[""] * (len(titles) - 2), str(failed)]) + " |")
    return [*lines, ""]


def with_a_line_each(figures):
    """JSON in which each element of a list stands on a line of its own."""
    parts = []
    for key, value in figures.items():
        text = json.dumps(value)
        if isinstance(value, list) and value:
            text = "[\n  " + ",\n  ".join(json.dumps(element) for element in value) + "\n ]"
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}"


def trained_in(runs):
    """What the runs computed in while they trained. Those of before `train --dtype` was heard do not say it: fp32."""
    known = any("dtype" in run for run in runs)
    return "; trained in " + ", ".join(sorted({run.get("dtype", "fp32") for run in runs})) if known else ""


def core_seconds(result):
    """What a run took of its cores. One of before processor time was recorded: by the clock, beside whatever else the machine did; one that was
    stopped and went on: what its steps took."""
    return result.get("processor_seconds", result["seconds"] * result["run"]["threads"])


def core_minutes(records):
    """What all of it took, as a sentence. A training that several tasks share counts for each."""
    # A run that is made once stands in the records of all its tasks.
    spent = {(made["run"], made["seed"], made["result"]["seconds"]): made["result"] for made in records}.values()
    by_clock = sum("processor_seconds" not in result for result in spent)
    minutes = sum(map(core_seconds, spent)) / 60
    return f"All together: about {minutes:.0f} minutes of one core" + (f", {by_clock} of {len(spent)} runs by the clock." if by_clock else ".")


def write_page(recipe, size, name, records, missing):
    """`records`: of `record`, in the order of the page."""
    results = {}  # {task: {run: [result of a seed]}}
    for made in records:
        results.setdefault(made["task"], {}).setdefault(made["run"], []).append(made["result"])
    lines = [f"# {recipe['title']}", "", f"<!-- written by scripts/experiment {name} --size {size}; not to be edited -->", ""]
    cases = []
    if "points" in recipe:
        lines += correlation_page.lines_of(records, name, PAGES)
        results = {}
    for task, found in results.items():
        here = list(cases_of(recipe, task, found))
        lines += [*task_lines(recipe, task, here, found), *draw_curves(recipe, name, task, records)]
        cases += here
    shares = {}
    for case in cases:
        if "share" in case and case["task"] not in recipe.get("left_out_of_mean", []):
            shares.setdefault(case["run"], []).append(case["share"])
    if len(results) > 1 and shares:
        lines += [f"## Mean of ÷ {recipe['reference']}", "", "| | share | tasks |", "|---|---:|---:|",
                  *(f"| {run} | {statistics.fmean(values):.4f} | {len(values)} |" for run, values in shares.items()), ""]
    if recipe.get("paper", {}).get("numbers"):
        lines += [f"The paper: {recipe['paper']['numbers']}.", ""]
    if "notes" in recipe:
        lines += [recipe["notes"].strip(), ""]
    runs = [made["result"]["run"] for made in records]
    each = lambda key: ", ".join(sorted({str(run[key]) for run in runs}))
    circumstances = f"; the runs' commits: {each('commit')}; {each('machine')}; threads a run: {each('threads')}{trained_in(runs)}"
    single = f"; of a single seed over {recipe['interval_over']}" if "interval_over" in recipe else ""
    means = "" if "points" in recipe else f"Mean ± half of the 95 % confidence interval over seeds (Student's t){single}. "
    lines += [f"{means}`scripts/experiment {name} --size {size}`{circumstances}." + (f" **{missing} runs are missing.**" if missing else ""),
              "", core_minutes(records)]
    (PAGES / f"{name}.md").write_text("\n".join(lines) + "\n")
    figures = {"experiment": name, "size": size, "commits": sorted({run["commit"] for run in runs}), "missing": missing, "cases": cases, "runs": records}
    (PAGES / f"{name}.json").write_text(with_a_line_each(figures) + "\n")
    print(f"experiment: docs/results/{name}.md", file=sys.stderr)


def measured(target, cases, tasks):
    """(figure as written, whether it holds) of a recipe's target over these tasks; None where a run that it needs is missing."""
    of = {}
    for case in cases:
        of.setdefault(case["run"], []).append(case)
    run, measure = target["run"], target["measure"]
    if any({case["task"] for case in of.get(name, [])} != set(tasks) for name in [run, *target.get("others", [])]):
        return None
    if measure in ("share", "gap_closed") and any(measure not in case for case in of[run]):
        return None
    mean = lambda name, key: statistics.fmean(case[key] for case in of[name])
    if measure == "above":  # every one of the others
        best = max(target["others"], key=lambda name: mean(name, "mean"))
        return f"{mean(run, 'mean') - mean(best, 'mean'):+.4f} over {best}", mean(run, "mean") > mean(best, "mean")
    value = mean(run, "mean") - mean(target["others"][0], "mean") if measure == "difference" else mean(run, measure)
    holds = value >= target["at_least"] if "at_least" in target else value <= target["at_most"]
    return f"{value:.4f}", holds


def write_targets():
    """docs/results/targets.md: each recipe's [[target]] beside what its page measured."""
    lines = ["# What is asked of the experiments, and what they measured", "", "<!-- written by scripts/experiment; not to be edited -->", "",
             "| experiment | asked | measured | holds | seeds |", "|---|---|---:|---|---:|"]
    for path in sorted((ROOT / "recipes/experiments").glob("*.toml")):
        recipe = tomllib.loads(path.read_text())
        page = PAGES / f"{path.stem}.json"
        cases = json.loads(page.read_text())["cases"] if page.exists() else []
        for target in recipe.get("target", []):
            tasks = target.get("tasks", recipe["small"].get("tasks", recipe["tasks"]))
            found = measured(target, [case for case in cases if case["task"] in tasks], tasks)
            seeds = {case["seeds"] for case in cases if case["run"] == target["run"]}
            link = f"[{path.stem}]({path.stem}.md)" if page.exists() else path.stem
            value, holds = (found[0], "yes" if found[1] else "**no**") if found else ("not run", "")
            lines.append(f"| {link} | {target['text']} | {value} | {holds} | {'–'.join(map(str, sorted({min(seeds), max(seeds)}))) if found else ''} |")
    lines += ["", "Size `small`. Scores and shares as fractions of 1."]
    (PAGES / "targets.md").write_text("\n".join(lines) + "\n")
