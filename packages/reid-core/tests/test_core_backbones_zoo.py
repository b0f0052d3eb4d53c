"""ReIDZoo's 32 names: each builds, sees any image size, and has finite gradients."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from timm.models.volo import VOLO

from reid_core.cli.models import cost, main
from reid_core.models.backbones import ZOO, GeM, VOLOEncoder, build_backbone
from reid_core.models.backbones.ibn import IBN
from reid_core.models.backbones.swin import SemanticControl

SIZE = (256, 128)
ODD = (100, 44)
"""No multiple of any patch."""
SMALL = [
    "ghostnet_0_5",
    "edgenext_x_small",
    "repvit_m0_9",
    "fastvit_s12",
    "resnet18",
    "resnet18_ibn",
    "convnext_tiny",
    "vit_tiny",
    "swin_tiny",
    "volo_d1",
]
LARGE = [name for name in ZOO if name not in SMALL]
TINY_SWIN = {"depths": (2, 2, 1, 1), "embed_dim": 24, "num_heads": (1, 2, 4, 8)}


def tiny_volo(size: tuple[int, int] = (64, 32)) -> VOLOEncoder:
    """timm's named VOLOs can't be made smaller."""
    sizes = {"layers": (1, 1, 1, 1), "embed_dims": (24, 48, 48, 48), "num_heads": (2, 4, 4, 4)}
    return VOLOEncoder(VOLO(img_size=size, num_classes=0, **sizes)).eval()


def images(height: int = 256, width: int = 128, number: int = 1) -> torch.Tensor:
    return torch.randn(number, 3, height, width, generator=torch.Generator().manual_seed(height * width))


def test_the_zoo_is_the_papers_ten_structures_and_thirty_two_models():
    assert len(ZOO) == 32
    structures = Counter(
        name.split("_")[0].rstrip("0123456789") + ("_ibn" if "ibn" in name else "") for name in ZOO
    )
    four = dict.fromkeys(["resnet", "resnet_ibn"], 4)
    three = ["ghostnet", "edgenext", "repvit", "fastvit", "convnext", "vit", "swin", "volo"]
    assert structures == {**dict.fromkeys(three, 3), **four}


def check_gradients(name: str) -> None:
    torch.manual_seed(0)
    encoder = build_backbone(name)
    tokens = encoder(images())
    assert tokens.grid == encoder.grid(SIZE)
    (tokens.cls.square().sum() + tokens.patches.square().mean()).backward()
    for parameter_name, parameter in encoder.trunk.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
    check_another_size(encoder, images(*ODD))


def check_another_size(encoder, x: torch.Tensor) -> None:
    with torch.no_grad():
        tokens = encoder.eval()(x)
    assert tokens.grid == encoder.grid((x.shape[2], x.shape[3]))
    assert tokens.cls.shape == (len(x), encoder.dim)
    assert tokens.patches.shape == (len(x), tokens.grid[0] * tokens.grid[1], encoder.dim)


@pytest.mark.parametrize("name", SMALL)
def test_the_smallest_of_each_structure_has_finite_gradients_and_sees_other_sizes(name):
    check_gradients(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_the_larger_ones_have_finite_gradients_and_see_other_sizes(name):
    check_gradients(name)


@pytest.mark.parametrize("name", LARGE)
def test_the_larger_ones_build_and_see_other_sizes_on_shapes_alone(name):
    with torch.device("meta"):
        check_another_size(build_backbone(name), torch.empty(2, 3, *ODD))


@pytest.mark.parametrize(
    ("name", "millions"),
    # The structures' own papers, classifiers of 1000 classes taken off: He et al. 2016; Liu et al. 2022.
    [("resnet50", 25.557 - 2.049), ("resnet50_ibn", 25.557 - 2.049), ("convnext_tiny", 28.589 - 0.769)],
)
def test_parameters_are_as_many_as_published(name, millions):
    assert cost(name).parameters / 1e6 == pytest.approx(millions, abs=0.001)


def test_operations_of_a_convolution_network_are_those_of_its_shapes():
    """ResNet-18 at last stride 2: 1.81 G multiplications at 224x224 (He et al. 2016, table 1: 1.8)."""
    with torch.device("meta"):
        encoder = build_backbone("resnet18", last_stride=2)
        counter = torch.utils.flop_counter.FlopCounterMode(display=False)
        with counter:
            encoder(torch.empty(1, 3, 224, 224))
    assert counter.get_total_flops() / 2e9 == pytest.approx(1.814, abs=0.01)


def test_the_command_line_lists_the_papers_names_beside_what_was_counted(capsys):
    assert main(["list", "--names", "[resnet18_ibn, vit_nano_patch8]"]) == 0
    *_, ibn, own = capsys.readouterr().out.splitlines()
    assert ibn.split() == ["resnet18_ibn", "ResNet18-IBN", "11.18", "1.99", "3.98", "512", "16x8", "-", "-"]
    assert own.split()[:2] == ["vit_nano_patch8", "-"]


def test_the_command_line_takes_names_one_by_one(capsys):
    assert main(["list", "beit_base_patch16_224", "hiera_tiny_224", "--image_size", "[64,32]"]) == 0
    *_, beit, hiera = (line.split() for line in capsys.readouterr().out.splitlines())
    assert (beit[0], beit[-3:]) == ("beit_base_patch16_224", ["4x2", "yes", "yes"])
    assert (hiera[0], hiera[-3:]) == ("hiera_tiny_224", ["2x1", "-", "-"])


def test_a_list_cut_by_head_ends_without_a_word():
    code = (
        "import sys; from reid_core.cli.models import main; sys.exit(main(['list', 'resnet10t', 'resnet18']))"
    )
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    run.stdout.close()  # as `head` does when it has seen enough
    assert (run.stderr.read(), run.wait()) == (b"", 0)


def test_the_command_line_names_an_unknown_backbone(capsys):
    assert main(["list", "--names", "[resnet5000]"]) == 1
    assert "no backbone named 'resnet5000'" in capsys.readouterr().err


def test_ibn_normalises_half_the_channels_by_instance_and_half_by_batch():
    torch.manual_seed(0)
    ibn = IBN(6)
    for parameter in ibn.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(4, 6, 5, 3)

    def normalised(half, dims, norm):
        mean, variance = half.mean(dims, keepdim=True), half.var(dims, unbiased=False, keepdim=True)
        return (half - mean) / (variance + 1e-5).sqrt() * norm.weight[:, None, None] + norm.bias[
            :, None, None
        ]

    want = torch.cat([normalised(x[:, :3], (2, 3), ibn.IN), normalised(x[:, 3:], (0, 2, 3), ibn.BN)], dim=1)
    torch.testing.assert_close(ibn(x), want)


def test_ibn_a_is_in_the_first_three_layers_alone_under_the_published_names():
    with torch.device("meta"):
        names = build_backbone("resnet50_ibn").cnn.state_dict()
    assert {f"layer{i}.0.bn1.{half}.weight" for i in (1, 2, 3) for half in ("IN", "BN")} < names.keys()
    assert "layer4.0.bn1.weight" in names
    assert not any("IN" in name for name in names if not name.startswith("layer") or "bn1" not in name)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_last_stride_1_doubles_the_map_and_2_is_timms(name):
    torch.manual_seed(0)
    options = {"layers": (1, 1, 1, 1)}
    ours = build_backbone(name, **options).eval()
    assert ours(images()).grid == ours.grid(SIZE) == (16, 8)
    plain = build_backbone(name, last_stride=2, **options).eval()
    theirs = timm.create_model(name, num_classes=0, **options).eval()
    plain.cnn.load_state_dict(ours.cnn.state_dict())
    theirs.load_state_dict(ours.cnn.state_dict())
    torch.testing.assert_close(plain(images()).cls, theirs(images()))


def test_a_last_stride_is_for_resnets():
    with pytest.raises(ValueError, match="last_stride=1 is for ResNets"):
        build_backbone("ghostnet_0_5", last_stride=1)


def test_what_a_network_does_after_pooling_is_done_to_the_pooled_map_and_to_each_position():
    torch.manual_seed(0)
    encoder = build_backbone("convnext_tiny", depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)).eval()
    x = images(128, 64)
    tokens, feature_map = encoder(x), encoder.cnn.forward_features(x)
    torch.testing.assert_close(tokens.cls, encoder.cnn(x))
    norm = encoder.cnn.head.norm
    want = F.layer_norm(feature_map.flatten(2).transpose(1, 2), (32,), norm.weight, norm.bias, norm.eps)
    torch.testing.assert_close(tokens.patches, want)


def test_reidzoos_repvit_has_gates_of_a_quarter_rounded_to_four_and_a_hard_sigmoid():
    gate = build_backbone("repvit_m0_9").cnn.stages[0].blocks[0].se
    assert gate.fc1.out_channels == 12
    x = torch.randn(2, 48, 4, 4)
    hidden = gate.fc2(gate.fc1(x.mean((2, 3), keepdim=True)).relu())
    torch.testing.assert_close(gate(x), x * F.relu6(hidden + 3) / 6)


def test_overlapping_patches_are_those_of_an_unfold():
    torch.manual_seed(0)
    encoder = build_backbone("vit_tiny_patch16_224", SIZE, stride=12, depth=1)
    assert encoder.grid(SIZE) == (21, 10)
    x, stem = images(), encoder.vit.patch_embed
    patches = F.unfold(x, 16, stride=12).transpose(1, 2)
    want = patches @ stem.proj.weight.flatten(1).T + stem.proj.bias
    torch.testing.assert_close(stem(x).flatten(1, 2), want, rtol=1e-4, atol=1e-4)
    assert encoder(x).patches.shape == (1, 210, 192)
    assert encoder(images(8, 40)).grid == encoder.grid((8, 40)) == (1, 3)


def test_patches_that_do_not_overlap_are_timms():
    torch.manual_seed(0)
    plain = build_backbone("vit_tiny_patch16_224", SIZE, depth=1).eval()
    strided = build_backbone("vit_tiny_patch16_224", SIZE, stride=16, depth=1).eval()
    strided.load_state_dict(plain.state_dict())
    for x in (images(), images(100, 44)):
        torch.testing.assert_close(strided(x).cls, plain(x).cls)


def test_a_stride_that_skips_pixels_is_refused():
    with pytest.raises(ValueError, match="stride=20 is not in 1..16"):
        build_backbone("vit_small_patch16_224", stride=20)


def test_the_zoos_transformers_can_overlap_too():
    with torch.device("meta"):
        encoder = build_backbone("vit_small", stride=12, depth=1)
        assert encoder(torch.empty(1, 3, *SIZE)).grid == encoder.grid(SIZE) == (21, 10)
        assert encoder(torch.empty(1, 3, 27, 41)).grid == encoder.grid((27, 41)) == (1, 3)
    with pytest.raises(ValueError, match="must be even"):
        build_backbone("vit_small", stride=13, depth=1)


def test_swin_at_its_native_size_is_timms():
    torch.manual_seed(0)
    encoder = build_backbone("swin_tiny_patch4_window7_224", (224, 224), **TINY_SWIN).eval()
    theirs = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0, **TINY_SWIN).eval()
    theirs.load_state_dict(encoder.swin.state_dict())
    x, tokens = images(224, 224), encoder(images(224, 224))
    torch.testing.assert_close(tokens.cls, theirs(x))
    torch.testing.assert_close(tokens.patches, theirs.forward_features(x).flatten(1, 2))


def test_volo_at_its_native_size_is_timms_and_interpolates_elsewhere():
    torch.manual_seed(0)
    encoder = tiny_volo()
    want, tokens = encoder.volo.forward_features(images(64, 32)), encoder(images(64, 32))
    torch.testing.assert_close(tokens.cls, want[:, 0])
    torch.testing.assert_close(tokens.patches, want[:, 1:])
    assert encoder(images(128, 50)).grid == encoder.grid((128, 50)) == (8, 4)


def test_semantic_control_scales_and_shifts_by_solidors_formula():
    torch.manual_seed(0)
    control = SemanticControl(5, 0.2)
    x, weight = torch.randn(2, 3, 2, 5), torch.tensor([0.2, 0.8])
    scale = control.scale.weight @ weight + control.scale.bias
    shift = control.shift.weight @ weight + control.shift.bias
    torch.testing.assert_close(control(x), x * torch.log(1 + scale.exp()) + shift)
    assert not any(parameter.requires_grad for parameter in control.parameters())


def test_the_semantic_weight_changes_what_swin_returns():
    torch.manual_seed(0)
    plain = build_backbone("swin_tiny", (64, 32), **TINY_SWIN).eval()
    semantic = build_backbone("swin_tiny", (64, 32), semantic_weight=0.0, **TINY_SWIN).eval()
    semantic.load_state_dict(plain.state_dict(), strict=False)
    assert len(semantic.swin.semantic) == 3
    assert not torch.allclose(plain(images(64, 32)).cls, semantic(images(64, 32)).cls)


@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=6), st.floats(1, 50))
def test_gem_lies_between_the_mean_and_the_maximum(values, p):
    x = torch.tensor(values).view(1, 1, 1, -1)
    pooled = GeM(p)(x).item()
    want = float((x.double() ** p).mean() ** (1 / p))
    assert pooled == pytest.approx(want, rel=1e-3)
    assert x.mean().item() * (1 - 1e-4) <= pooled <= x.max().item() * (1 + 1e-4)


def test_gem_learns_its_exponent_and_stays_finite_on_an_empty_map():
    pool = GeM()
    pool(torch.cat([torch.zeros(1, 2, 4, 2), torch.rand(1, 2, 4, 2)])).sum().backward()
    assert pool.p.grad.isfinite()
    assert pool.p.grad != 0


def test_pooling_is_chosen_by_name():
    encoder = build_backbone("resnet10t", (64, 32), pool="gem").eval()
    x = images(64, 32)
    torch.testing.assert_close(encoder(x).cls, GeM()(encoder.cnn.forward_features(x)).flatten(1))
    with pytest.raises(ValueError, match="no pooling named 'max'"):
        build_backbone("resnet10t", pool="max")


def test_an_option_that_the_structure_lacks_is_named():
    with pytest.raises(ValueError, match=r"ghostnet_0_5 can't be built with .*drop_path.*0.1"):
        build_backbone("ghostnet_0_5", drop_path=0.1)


@pytest.mark.parametrize(("name", "options"), [("swin_tiny", TINY_SWIN), ("volo_d1", {})])
def test_stochastic_depth_reaches_the_other_transformers(name, options):
    with torch.device("meta"):
        encoder = build_backbone(name, (64, 32), drop_path=0.5, **options)
    rates = [getattr(module, "drop_prob", 0.0) or 0.0 for module in encoder.modules()]
    assert max(rates) == pytest.approx(0.5)


def test_only_vision_transformers_hide_patches():
    mask = torch.zeros(1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="a Swin backbone can't hide patches"):
        build_backbone("swin_tiny", (64, 32), **TINY_SWIN)(images(64, 32), mask)
    with pytest.raises(ValueError, match="a VOLO backbone can't hide patches"):
        tiny_volo()(images(64, 32), mask)


def test_side_information_is_added_to_every_token():
    torch.manual_seed(0)
    encoder = build_backbone("vit_nano_patch8", (64, 32), depth=2).eval()
    side, x = torch.randn(2, encoder.dim), images(64, 32, 2)
    seen = []
    handle = encoder.vit.blocks[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    encoder(x)
    encoder(x, side=side)
    handle.remove()
    torch.testing.assert_close(seen[1], seen[0] + side[:, None])


class TestCLIP:
    name = "open_clip:ViT-B-16-quickgelu"
    options = {"layers": 2, "width": 64, "head_width": 32}

    @pytest.fixture(autouse=True)
    def needs_open_clip(self):
        pytest.importorskip("open_clip")
        torch.manual_seed(0)

    def test_the_tower_at_its_native_size_is_open_clips(self):
        encoder = build_backbone(self.name, (64, 32), **self.options).eval()
        x = images(64, 32, 2)
        tokens = encoder(x)
        torch.testing.assert_close(encoder.project(tokens.cls), encoder.clip(x))
        assert tokens.patches.shape == (2, 8, 64)

    def test_it_sees_any_size_and_overlapping_patches(self):
        encoder = build_backbone(self.name, SIZE, stride=12, **self.options).eval()
        assert encoder(images()).grid == encoder.grid(SIZE) == (21, 10)
        assert encoder(images(100, 44)).grid == encoder.grid((100, 44)) == (8, 3)

    def test_everything_but_the_projection_has_finite_gradients(self):
        encoder = build_backbone(self.name, (64, 32), **self.options)
        tokens = encoder(images(64, 32), side=torch.randn(1, 64))
        (tokens.cls.sum() + tokens.patches.square().sum()).backward()
        missing = [name for name, p in encoder.clip.named_parameters() if p.grad is None]
        assert missing == ["proj"]
        assert all(p.grad.isfinite().all() for p in encoder.parameters() if p.grad is not None)

    def test_openais_names_have_their_activation(self):
        encoder = build_backbone(self.name, (64, 32), **self.options)
        x = torch.randn(5)
        torch.testing.assert_close(
            encoder.clip.transformer.resblocks[0].mlp.gelu(x), x * torch.sigmoid(1.702 * x)
        )

    @pytest.mark.parametrize("name", ["ViT-Z-1", "RN50"])
    def test_other_towers_are_refused(self, name):
        with pytest.raises(ValueError, match=f"'{name}'"):
            build_backbone(f"open_clip:{name}")
