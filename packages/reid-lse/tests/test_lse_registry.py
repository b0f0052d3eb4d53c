"""Predictors and segmenters by name: options are checked, other distributions add names, files are whole."""

import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch

import reid_lse.models as models
from reid_lse import Builder, LocalSemanticExtractor, build_keypoints, build_segmenter
from reid_lse.atomic import atomic


@dataclass(frozen=True)
class HalvesOptions:
    share: float = 0.5


def build_halves(name, options, device):
    def halves(images, keypoints, prompts):
        masks = [
            torch.zeros(prompts.positive.shape[1], *image.shape[1:], dtype=torch.bool) for image in images
        ]
        for mask in masks:
            mask[:, : round(mask.shape[1] * options.share)] = True
        return masks

    return halves


class Entry:
    """Stands for an installed distribution's entry point."""

    name, value = "halves", "others.halves:BUILDER"

    def __init__(self, builder):
        self.builder = builder

    def load(self):
        return self.builder


@pytest.fixture
def installed(monkeypatch):
    """Another distribution with a segmenter of its own."""

    def entry_points(group, name=None):
        there = group == "reid_lse.segmenters" and name in (None, "halves")
        return [Entry(Builder(HalvesOptions, build_halves))] if there else []

    monkeypatch.setattr(models, "entry_points", entry_points)


def test_another_distribution_adds_a_segmenter_by_an_entry_point(installed):
    segment = build_segmenter("halves", share=0.25)
    image = torch.zeros(3, 40, 20, dtype=torch.uint8)
    masks = LocalSemanticExtractor(segmenter=segment).masks([image]).masks[0]
    assert masks[:, :10].all() and not masks[:, 10:].any()
    with pytest.raises(ValueError, match=r"unknown segmenter 'thirds'; known are crf, .*, halves"):
        build_segmenter("thirds")


def test_an_entry_point_that_leads_elsewhere_is_named(monkeypatch):
    monkeypatch.setattr(models, "entry_points", lambda group, name: [Entry(build_halves)])
    with pytest.raises(ValueError, match=r"others.halves:BUILDER is no reid_lse Builder"):
        build_segmenter("halves")


def test_options_that_a_name_lacks_are_refused():
    with pytest.raises(ValueError, match="grabcut takes no box; it has no options"):
        build_segmenter("grabcut", box=True)
    with pytest.raises(ValueError, match="blazepose takes no sha256; its options are checkpoint, points"):
        build_keypoints("blazepose", sha256="0")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["grabcut", "crf", "sam_vit_b"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(ValueError, match="device 'cuda' is asked for, but PyTorch finds no GPU here"):
        build_segmenter(name, "cuda")


def test_what_needs_a_file_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="`reid-lse weights blazepose` fetches them"):
        build_keypoints("blazepose")
    with pytest.raises(ValueError, match="rtmpose needs a checkpoint"):
        build_keypoints("rtmpose")


def test_the_command_line_answers_without_the_heavy_libraries():
    heavy = "torch", "torchvision", "cv2", "pyarrow", "numpy", "segment_anything", "transformers"
    code = (
        "import sys, reid_lse.cli as cli; cli.build_parser(); import reid_lse; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []
    for content in ("first", "second"):
        with atomic(path) as temporary:
            temporary.write_text(content)
    assert [file.name for file in path.parent.iterdir()] == ["a.txt"]
    assert path.read_text() == "second"
