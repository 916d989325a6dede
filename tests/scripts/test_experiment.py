"""scripts/experiment with a program that only notes how it was called: which commands, in what order, what is kept, what a page says."""
import contextlib
import io
import json
import os
import stat
import tempfile
import tomllib
import types
import unittest
from pathlib import Path
from unittest import mock

from support import load

experiment = load("experiment")
import result_page  # noqa: E402 (experiment's folder is on the path now)

RECIPE = tomllib.loads("""
title = "A title"
verb = "train"
model = "base.json"
tasks = ["one", "two"]
metric = "score"
percent = true
reference = "softmax"
seeds = [0, 1]
flags = ["--task", "{task}", "--lr", "1"]
notes = "What differs."

[columns]
KL = "fidelity.kl"

[small]
flags = ["--epochs", "1"]
two = ["--lr", "2"]
linear = ["--epochs", "3"]

[[run]]
name = "softmax"

[[run]]
name = "linear"
model = "@softmax"
flags = ["--attention", "linear"]
""")
# Prints a score that follows from the seed, fails where the task is "bad" and diverges where it is "wild"; its calls stand in a file.
PROGRAM = """#!/usr/bin/env python3
import json, os, sys
flags = dict(zip(sys.argv[3::2], sys.argv[4::2]))
with open(os.environ["CALLS"], "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if flags["--task"] == "bad":
    sys.exit(3)
if flags["--task"] == "wild" and "linear" in sys.argv:
    sys.exit("error: the gradient's norm is nan")
linear = "linear" in sys.argv
os.makedirs(flags["-o"], exist_ok=True)
print(json.dumps({"score": (0.4 if linear else 0.5) + 0.1 * int(flags["--seed"]), "seconds": 90, **({"fidelity": {"kl": 0.25}} if linear else {})}))
"""


class Experiment(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        program = self.folder / "bin/hedgehog"
        program.parent.mkdir()
        program.write_text(PROGRAM)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.enterContext(mock.patch.dict(os.environ, {"HEDGEHOG_BUILD": str(program.parent), "CALLS": str(self.folder / "calls")}))
        self.enterContext(contextlib.redirect_stderr(io.StringIO()))
        wait4, a_minute = os.wait4, types.SimpleNamespace(ru_utime=45, ru_stime=15)  # of the processor; 90 s by the clock
        self.enterContext(mock.patch.object(experiment.os, "wait4", lambda pid, options: (*wait4(pid, options)[:2], a_minute)))

    def items(self, recipe=RECIPE, seeds=None):
        return list(experiment.commands(recipe, "small", self.folder / "results", seeds))

    def calls(self):
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def test_flags_of_task_and_run_win_over_those_of_all(self):
        found = {(item.task, item.run, item.seed): item.training for item in self.items()}
        self.assertEqual(len(found), 8)
        output = str(self.folder / "results/two/linear/1")
        self.assertEqual(found["two", "linear", 1][1:], ["train", str(self.folder / "results/two/softmax/1"), "--task", "two", "--lr", "2", "--epochs", "3",
                                                         "--attention", "linear", "--seed", "1", "-o", output, "--json"])
        self.assertEqual(found["one", "softmax", 0][2], str(experiment.ROOT / "base.json"))

    def test_what_others_start_from_comes_first_and_nothing_is_run_twice(self):
        experiment.execute_all(self.items(), 3)
        calls = self.calls()
        self.assertEqual(len(calls), 8)
        outputs = [call[call.index("-o") + 1] for call in calls]
        for place, call in enumerate(calls):
            if "linear" in call:
                self.assertIn(call[1], outputs[:place])
        experiment.execute_all(self.items(seeds=[0, 1, 2]), 1)
        self.assertEqual([call[call.index("--seed") + 1] for call in self.calls()[8:]], ["2"] * 4)

    def test_a_stopped_run_goes_on(self):
        first, second = self.items()[:2]
        for item in (first, second):
            (item.output / "state").mkdir(parents=True)
        first.output.with_suffix(".begun_by").write_text(first.trained_by)
        second.output.with_suffix(".begun_by").write_text("another command")
        experiment.execute_all(self.items(), 1)
        resumed = [call for call in self.calls() if "--resume" in call]
        self.assertEqual([call[call.index("-o") + 1] for call in resumed], [str(first.output)])
        self.assertFalse((second.output / "state").exists())
        # What its earlier part took is not known.
        self.assertNotIn("processor_seconds", json.loads(first.kept.read_text()))
        self.assertGreater(json.loads(second.kept.read_text())["processor_seconds"], 0)

    def test_what_a_changed_recipe_would_make_otherwise_is_run_again(self):
        experiment.execute_all(self.items(), 1)
        changed = self.items({**RECIPE, "small": {**RECIPE["small"], "linear": ["--epochs", "4"]}})
        experiment.execute_all(changed, 1)
        self.assertEqual(["linear" in call for call in self.calls()[8:]], [True] * 4)
        # What starts from a changed run changes with it.
        changed = self.items({**RECIPE, "small": {**RECIPE["small"], "softmax": ["--epochs", "4"]}})
        experiment.execute_all(changed, 1)
        self.assertEqual(len(self.calls()), 8 + 4 + 8)

    def test_a_failed_run_stops_all_and_is_named(self):
        with self.assertRaises(SystemExit) as failure:
            experiment.execute_all(self.items({**RECIPE, "tasks": ["bad", "one"]}), 1)
        self.assertIn("exit status 3", str(failure.exception))
        self.assertIn("--task bad", str(failure.exception))
        self.assertEqual(len(self.calls()), 1)
        self.assertFalse((self.folder / "results/bad/softmax/0.json").exists())

    def test_a_run_that_may_fail_is_on_the_page(self):
        self.enterContext(mock.patch.object(result_page, "PAGES", self.folder))
        self.enterContext(mock.patch.object(result_page, "write_targets"))
        recipe = {**RECIPE, "tasks": ["wild", "one"], "seeds": [0]}
        with self.assertRaises(SystemExit):
            experiment.execute_all(self.items(recipe), 1)
        experiment.execute_all(self.items(recipe), 1, may_fail="gradient's norm is")
        experiment.write_page(recipe, "small", "name", self.folder / "results")
        page = (self.folder / "name.md").read_text()
        self.assertIn("| linear | diverged |  |  |  | 1 |", page)
        self.assertIn("| linear | 40.00 | 0.800 | 0.250 | 1.0 | 1 |", page)
        with self.assertRaises(SystemExit):  # with another message it is a failure
            experiment.execute_all(self.items({**recipe, "tasks": ["bad"]}), 1, may_fail="gradient's norm is")

    def test_a_task_has_a_model_a_verb_and_flags_of_its_own(self):
        recipe = {**RECIPE, "seeds": [0], "task": {"two": {"model": "other.json", "verb": "distill", "flags": ["--lr", "5"]}},
                  "small": {"flags": []}, "run": [{"name": "softmax", "tasks": ["one"]},
                                                  {"name": "linear", "model": "@softmax", "task": {"two": {"model": "third.json", "flags": ["--lr", "7"]}}}]}
        one, started, two = (item.training for item in self.items(recipe))
        self.assertEqual(one[1:3], ["train", str(experiment.ROOT / "base.json")])
        self.assertEqual(started[2], str(self.folder / "results/one/softmax/0"))
        self.assertEqual(two[1:7], ["distill", str(experiment.ROOT / "third.json"), "--task", "two", "--lr", "7"])

    def test_a_run_for_all_tasks_is_made_once_and_others_may_name_it(self):
        recipe = {**RECIPE, "seeds": [0], "small": {"flags": []}, "flags": ["--task", "all"],
                  "run": [{"name": "softmax", "once": True}, {"name": "linear", "flags": ["--task", "{task}", "--from", "{@softmax}"]}]}
        experiment.execute_all(self.items(recipe), 2)
        calls = self.calls()
        shared = str(self.folder / "results/shared/softmax/0")
        self.assertEqual([call[call.index("-o") + 1] for call in calls].count(shared), 1)
        self.assertEqual(len(calls), 3)
        self.assertEqual(calls[0][calls[0].index("-o") + 1], shared)
        self.assertEqual([call[call.index("--from") + 1] for call in calls[1:]], [shared] * 2)
        experiment.execute_all(self.items(recipe), 2)
        self.assertEqual(len(self.calls()), 3)

    def page_of_three_runs(self):
        """(recipe, page): its fourth run is missing."""
        self.enterContext(mock.patch.object(result_page, "PAGES", self.folder))
        self.enterContext(mock.patch.object(result_page, "write_targets"))
        recipe = {**RECIPE, "tasks": ["one"]}
        experiment.execute_all(self.items(recipe)[:3], 1)
        experiment.write_page(recipe, "small", "name", self.folder / "results")
        return recipe, (self.folder / "name.md").read_text()

    def test_the_page_of_what_is_there(self):
        _, page = self.page_of_three_runs()
        # 0.5 and 0.6: mean 0.55, deviation 0.0707, times 12.706 / sqrt(2).
        self.assertIn("| softmax | 55.00 ± 63.53 | 1.000 |  | 1.0 | 2 |", page)
        self.assertIn("| linear | 40.00 | 0.727 | 0.250 | 1.0 | 1 |", page)
        self.assertIn("What differs.", page)
        self.assertIn("**1 runs are missing.**", page)
        self.assertEqual(json.loads((self.folder / "name.json").read_text())["missing"], 1)

    def test_a_task_may_be_left_out_of_the_mean(self):
        self.enterContext(mock.patch.object(result_page, "PAGES", self.folder))
        self.enterContext(mock.patch.object(result_page, "write_targets"))
        for left_out, tasks in [([], 2), (["two"], 1)]:
            recipe = {**RECIPE, "left_out_of_mean": left_out}
            experiment.execute_all(self.items(recipe), 1)
            experiment.write_page(recipe, "small", "name", self.folder / "results")
            self.assertIn(f"| linear | 0.8182 | {tasks} |", (self.folder / "name.md").read_text())

    def test_what_all_runs_took_together(self):
        made = lambda run, task, **result: {"task": task, "run": run, "seed": 0, "result": {"run": {"threads": 2}, **result}}
        for_all_tasks = [made("softmax", task, seconds=600, processor_seconds=300) for task in "ab"]
        self.assertEqual(result_page.core_minutes(for_all_tasks), "All together: about 5 minutes of one core.")
        self.assertEqual(result_page.core_minutes([*for_all_tasks, made("linear", "a", seconds=60)]),
                         "All together: about 7 minutes of one core, 1 of 2 runs by the clock.")

    def test_what_runs_were_trained_in(self):
        kept = lambda result: result_page.record(RECIPE, "one", "softmax", 0, {"seconds": 1, "run": {"threads": 1}, **result}, self.folder / "no log")["result"]["run"]
        old, plain, measured = kept({}), kept({"recipe": {"dtype": "bf16"}}), kept({"trained": {"recipe": {"dtype": "bf16"}}})
        self.assertEqual(result_page.trained_in([old]), "")
        self.assertEqual(result_page.trained_in([plain, measured]), "; trained in bf16")
        self.assertEqual(result_page.trained_in([old, measured]), "; trained in bf16, fp32")

    def test_records_stay_on_the_page_when_another_machine_adds_to_it(self):
        recipe, page = self.page_of_three_runs()
        (self.folder / "results").rename(self.folder / "elsewhere")
        experiment.write_page(recipe, "small", "name", self.folder / "results")
        self.assertEqual((self.folder / "name.md").read_text(), page)

        recorded = experiment.records_of("name", "small")
        missing = experiment.without_record(self.items(recipe), recorded)
        self.assertEqual([(item.run, item.seed) for item in missing], [("softmax", 1), ("linear", 1)])
        experiment.execute_all(missing, 1)
        experiment.write_page(recipe, "small", "name", self.folder / "results")
        page = (self.folder / "name.md").read_text()
        self.assertIn("| linear | 45.00 ± 63.53 | 0.818 | 0.250 ± 0.000 | 1.0 | 2 |", page)
        self.assertNotIn("missing", page)

        # Those that the recipe would make otherwise now are left out.
        changed = {**recipe, "small": {**RECIPE["small"], "linear": ["--epochs", "4"]}}
        experiment.write_page(changed, "small", "name", self.folder / "nothing")
        self.assertNotIn("| linear |", (self.folder / "name.md").read_text())


class Targets(unittest.TestCase):
    CASES = [{"run": run, "task": task, "mean": mean, "share": share, "gap_closed": 0.5}
             for run, task, mean, share in [("a", "x", 2, 0.9), ("a", "y", 4, 1.1), ("b", "x", 1, 1), ("b", "y", 3, 1), ("c", "x", 0, 0), ("c", "y", 0, 0),
                                          ("one task", "x", 0, 0)]]

    def measured(self, **target):
        return result_page.measured({"run": "a", **target}, self.CASES, ["x", "y"])

    def test_measures(self):
        self.assertEqual(self.measured(measure="share", at_least=1), ("1.0000", True))
        self.assertEqual(self.measured(measure="share", at_most=0.99), ("1.0000", False))
        self.assertEqual(self.measured(measure="mean", at_least=3.5), ("3.0000", False))
        self.assertEqual(self.measured(measure="gap_closed", at_least=0.5), ("0.5000", True))
        self.assertEqual(self.measured(measure="difference", others=["b"], at_least=0), ("1.0000", True))
        self.assertEqual(self.measured(measure="above", others=["b", "c"]), ("+1.0000 over b", True))

    def test_a_missing_run_is_not_measured(self):
        self.assertIsNone(self.measured(run="d", measure="mean", at_least=0))
        self.assertIsNone(self.measured(measure="above", others=["d"]))
        self.assertIsNone(self.measured(measure="above", others=["one task"]))

    def test_every_recipe_can_be_read(self):
        for path in sorted((experiment.ROOT / "recipes/experiments").glob("*.toml")):
            with self.subTest(path.name):
                recipe = tomllib.loads(path.read_text())
                runs = {run["name"] for run in recipe["run"]}
                for size in ("small", "paper"):
                    self.assertIn(size, recipe)
                for target in recipe.get("target", []):
                    self.assertIn(target["run"], runs)
                    self.assertLessEqual(set(target.get("others", [])), runs)
                    self.assertLessEqual(set(target.get("tasks", [])), set(recipe["tasks"]))


class Intervals(unittest.TestCase):
    def test_a_stage_is_found_by_its_place_or_its_name(self):
        result = {"training": [{"stage": "distillation", "seconds": 3}, {"stage": "finetuning", "seconds": 5}]}
        self.assertEqual(result_page.pick(result, "training.0.seconds"), 3)
        self.assertEqual(result_page.pick(result, "training.finetuning.seconds"), 5)
        for path in ("training.2.seconds", "training.other.seconds", "training.0.kl", "score"):
            self.assertIsNone(result_page.pick(result, path))

    def test_students_t(self):
        # scipy.stats.t.ppf(0.975, n - 1) * scipy.stats.sem
        for values, half in (([1, 3], 12.7062), ([1, 2, 4], 3.7945), (list(range(10)), 2.1659)):
            self.assertAlmostEqual(result_page.interval(values)[1], half, places=3)
        self.assertIsNone(result_page.interval([1])[1])


if __name__ == "__main__":
    unittest.main()
