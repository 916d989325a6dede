"""scripts/pack_images against what transformers' image processors make of the same pictures (tests/fixtures/data/make_pictures.py)."""
import array
import json
import struct
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from support import ROOT

FIXTURES = ROOT / "tests/fixtures/data"
sys.path.append(str(ROOT / ".deps/plots"))
try:
    import PIL  # noqa: F401
    PILLOW = True
except ImportError:
    PILLOW = False


def read(path):
    """{name: values}, of uint8 and int64 alone, and the metadata."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    metadata = header.pop("__metadata__")
    types = {"U8": "B", "I64": "q"}
    return {name: array.array(types[entry["dtype"]], data[slice(*entry["data_offsets"])]) for name, entry in header.items()}, header, metadata


@unittest.skipUnless(PILLOW, "Pillow is not installed: scripts/setup plots")
class PackImages(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def pack(self, folder, *flags):
        return subprocess.run([ROOT / "scripts/pack_images", folder, self.folder / "packed.safetensors", *flags], text=True, capture_output=True)

    def test_equals_transformers(self):
        expected = json.loads((FIXTURES / "pictures.json").read_text())
        for kind in ("vit", "deit", "clip"):
            with self.subTest(kind):
                config, pixels = expected[kind]["config"], expected[kind]["pixels"]
                (self.folder / "preprocessor_config.json").write_text(json.dumps(config))
                outcome = self.pack(FIXTURES / "pictures", "--model", self.folder)
                self.assertEqual(outcome.returncode, 0, outcome.stderr)
                tensors, header, metadata = read(self.folder / "packed.safetensors")
                self.assertEqual(header["images"]["shape"], [3, 3, 12, 12])
                self.assertEqual(metadata["classes"], "2")
                self.assertEqual(sorted(tensors["labels"]), [0, 0, 1], "tall, tall, wide")
                mean, deviation = ([float(x) for x in metadata[key].split()] for key in ("mean", "deviation"))
                self.assertEqual(mean, config["image_mean"])
                size = 3 * 12 * 12
                found = [[(x / 255 - mean[i // 144]) / deviation[i // 144] for i, x in enumerate(tensors["images"][k * size:(k + 1) * size])]
                         for k in range(3)]
                matched = [name for label, picture in zip(tensors["labels"], found) for name, wanted in pixels.items()
                           if name.startswith(("tall", "wide")[label]) and all(abs(a - b) < 1e-4 for a, b in zip(picture, wanted, strict=True))]
                self.assertEqual(sorted(matched), sorted(pixels))

    def test_what_is_wrong_is_named(self):
        self.assertIn("two or more classes, found 0", self.pack(self.folder).stderr)
        (self.folder / "a").mkdir()
        (self.folder / "b").mkdir()
        self.assertIn("a: holds no pictures", self.pack(self.folder).stderr)
        for name in ("a/1.png", "b/2.png"):
            (self.folder / name).write_bytes(b"no picture")
        self.assertRegex(self.pack(self.folder).stderr, r"pack_images: .*png: ")
        self.assertFalse((self.folder / "packed.safetensors").exists())
        self.assertIn("preprocessor_config.json: is not there", self.pack(FIXTURES / "pictures", "--model", self.folder).stderr)


if __name__ == "__main__":
    unittest.main()
