"""The statistics of scripts/correlation_page.py against figures that scipy and statsmodels gave, and what they say of made-up points."""
import random
import unittest
from pathlib import Path
from unittest import mock

import support  # noqa: F401 (puts scripts/ on the path)

import correlation_page as page


def point(score, entropy, monotonicity, kl=1.0):
    return {"score": score, "entropy": entropy, "entropy_softmax": 2.0, "monotonicity": monotonicity, "kl": kl}


def made(score_of, count=60, seed=1):
    """Points whose entropy and monotonicity are drawn independently, and whose score follows from both."""
    drawn = random.Random(seed)
    points = []
    for _ in range(count):
        entropy, order = drawn.uniform(2, 4), drawn.uniform(0, 1)
        points.append(point(score_of(entropy, order) + drawn.gauss(0, 0.05), entropy, order, kl=entropy))
    return points


class Statistics(unittest.TestCase):
    def test_ranks(self):
        self.assertEqual(page.ranks([10, 30, 20]), [1, 3, 2])
        self.assertEqual(page.ranks([5, 1, 5, 5]), [3, 1, 3, 3])

    def test_spearman_with_ties(self):
        # scipy.stats.spearmanr([1, 2, 3, 4, 4, 6], [2, 1, 4, 3, 6, 5]).statistic
        x, y = page.ranks([1, 2, 3, 4, 4, 6]), page.ranks([2, 1, 4, 3, 6, 5])
        self.assertAlmostEqual(page.pearson(x, y), 0.753702346348183, places=12)
        self.assertEqual(page.pearson([1, 1], [1, 2]), 0)

    def test_partial_is_the_correlation_of_residuals(self):
        points = made(lambda entropy, order: order - entropy)
        score, x, z = (page.centred_ranks([points], value) for value in
                       (lambda p: p["score"], page.MEASURES["order"], page.MEASURES["spikes"]))

        def residuals(y):  # of a regression on z; all have mean 0
            slope = sum(a * b for a, b in zip(y, z)) / sum(b * b for b in z)
            return [a - slope * b for a, b in zip(y, z)]

        expected = page.pearson(residuals(score), residuals(x))
        self.assertAlmostEqual(page.correlation([points], "order", "spikes"), expected, places=12)

    def test_p_value_is_fishers(self):
        # 2 * scipy.stats.norm.sf(numpy.arctanh(0.3) * numpy.sqrt(47))
        self.assertAlmostEqual(page.p_value(0.3, 50, None), 0.0338411393149463, places=12)
        self.assertGreater(page.p_value(0.3, 50, "order"), page.p_value(0.3, 50, None))
        self.assertEqual(page.p_value(0, 50, None), 1)

    def test_holm(self):
        # statsmodels' multipletests([0.01, 0.04, 0.03, 0.005], method="holm")
        for found, expected in zip(page.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02]):
            self.assertAlmostEqual(found, expected)

    def test_tasks_are_ranked_among_themselves(self):
        # Within each task order and score go together; between the tasks they go against each other.
        low = [point(score, 3, 0.9 + score / 100) for score in range(5)]
        high = [point(100 + score, 3, 0.1 + score / 100) for score in range(5)]
        self.assertAlmostEqual(page.correlation([low, high], "order", None), 1)


class Page(unittest.TestCase):
    def page_of(self, score_of):
        records = [{"task": task, "run": "map", "result": {"points": {str(i): values for i, values in enumerate(made(score_of, seed=seed))}}}
                   for seed, task in enumerate(["one", "two"])]
        with mock.patch.object(page.plots, "available", return_value=False), mock.patch.object(page, "RESAMPLES", 200):
            return "\n".join(page.lines_of(records, "name", Path()))

    def test_says_which_property_matters(self):
        text = self.page_of(lambda entropy, order: order)
        self.assertIn("- **Order, with spikes held fixed,** goes with a better score: holds over all tasks", text)
        self.assertIn("- **Spikes, with order held fixed,** go with a better score: is not shown over all tasks", text)
        self.assertIn("## two\n\n60 points.", text)
        text = self.page_of(lambda entropy, order: entropy)
        self.assertIn("- **Spikes, with order held fixed,** go with a better score: is contradicted over all tasks", text)

    def test_a_perplexity_is_better_when_lower(self):
        points = {str(i): {**{key: value for key, value in point(0, 3 + i, 0.5).items() if key != "score"}, "perplexity": 10 + i} for i in range(4)}
        tasks = page.points_of([{"task": "text", "run": "map", "result": {"points": points}}])
        self.assertAlmostEqual(page.correlation(list(tasks.values()), "spikes", None), 1)

    def test_nothing_measured_says_nothing(self):
        self.assertEqual(page.lines_of([{"task": "one", "run": "softmax", "result": {}}], "name", Path()), [])


if __name__ == "__main__":
    unittest.main()
