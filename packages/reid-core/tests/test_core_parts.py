"""Recipe parts: the jigsaw, side information, MGN's branches, and the objective over branches."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reid_core.models.backbones import build_backbone
from reid_core.models.heads import ReIDModel, ReIDObjective
from reid_core.models.parts import (
    Branch,
    BranchedModel,
    BranchedObjective,
    CircleMGNObjective,
    ClassFeature,
    JigsawPatches,
    MGNExtractor,
    SideInformation,
    TransReIDExtractor,
)
from reid_core.models.parts.circle_mgn import circle_logits
from reid_core.models.parts.jigsaw import jigsaw

SIZE = (64, 32)
PIDS = [2, 2, 5, 5]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def images(number: int = 4, size: tuple[int, int] = SIZE) -> torch.Tensor:
    return torch.randn(number, 3, *size)


def vit():
    return build_backbone("vit_nano_patch8", SIZE, depth=2)


def resnet(**options):
    return build_backbone("resnet18", SIZE, layers=(1, 1, 2, 1), **options)


class Two(nn.Module):
    """Two features of four numbers."""

    branches = (
        Branch(4, id=0.5, triplet=2.0, descriptor=1.0),
        Branch(4, id=0.25, triplet=0.0, descriptor=0.5),
    )

    def __init__(self):
        super().__init__()
        self.maps = nn.ModuleList([nn.Linear(3, 4), nn.Linear(3, 4)])

    def forward(self, x):
        return [linear(x.mean((2, 3))) for linear in self.maps]


@given(st.integers(8, 40), st.integers(0, 12), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2]))
def test_a_jigsaw_uses_each_patch_once(number, shift, groups, shuffle):
    patches = torch.arange(float(number)).view(1, number, 1)
    out = jigsaw(patches, groups, shift, shuffle).flatten().tolist()
    assert len(set(out)) == len(out) == number - number % (groups * shuffle)


def test_a_jigsaw_is_transreids():
    """A direct transcription: move the first m to the end, interleave two halves, cut in four."""
    order = list(range(5, 32)) + list(range(5))
    interleaved = [order[half * 16 + i] for i in range(16) for half in range(2)]
    out = jigsaw(torch.arange(32.0).view(1, 32, 1))
    assert out.flatten(2).tolist() == [[interleaved[8 * k : 8 * k + 8] for k in range(4)]]


def test_too_few_patches_for_a_jigsaw_are_an_error():
    with pytest.raises(ValueError, match="4 patches are fewer than the 4 groups of 2"):
        jigsaw(torch.zeros(1, 4, 3))


def test_each_group_passes_the_copied_block_with_the_class_token():
    encoder = vit().eval()
    part = JigsawPatches(encoder).eval()
    x, _ = encoder.before_last(images(2))
    local = part(x)
    assert local.shape == (2, 4, 128)
    third = torch.cat([x[:, :1], jigsaw(x[:, 1:])[:, 2]], dim=1)
    torch.testing.assert_close(local[:, 2], encoder.vit.norm(encoder.vit.blocks[-1](third))[:, 0])
    assert part.block is not encoder.vit.blocks[-1]


def test_the_encoder_in_two_steps_is_the_encoder():
    encoder, x = vit().eval(), images(2)
    torch.testing.assert_close(encoder.last(*encoder.before_last(x)).cls, encoder(x).cls)


def test_the_jigsaw_takes_a_transformer_with_a_class_token():
    encoder = build_backbone("vit_nano_patch8", SIZE, depth=2, class_token=False, global_pool="avg")
    with pytest.raises(ValueError, match="the jigsaw needs a class token"):
        TransReIDExtractor(encoder)
    assert TransReIDExtractor(encoder, groups=0)(images(2))[0].shape == (2, 128)


def test_the_jigsaws_norm_is_the_one_behind_the_pooling_where_the_transformer_has_that():
    encoder = build_backbone("vit_nano_patch8", SIZE, depth=2, global_pool="avg")
    assert isinstance(encoder.vit.norm, nn.Identity)
    assert isinstance(JigsawPatches(encoder).norm, nn.LayerNorm)


def test_transreid_takes_a_vision_transformer():
    with pytest.raises(ValueError, match="TransReID takes a ViTEncoder.* not CNNEncoder"):
        TransReIDExtractor(resnet())


def test_side_information_is_a_weighted_row_a_camera():
    side = SideInformation([7, 3, 3, 9], dim=5, weight=2.0)
    assert side.embedding.shape == (3, 5)
    want = 2.0 * side.embedding[torch.tensor([2, 0])]
    torch.testing.assert_close(side(torch.tensor([9, 3])), want)


@pytest.mark.parametrize("stranger", [0, 5, 11])
def test_a_camera_that_was_not_in_training_is_named(stranger):
    with pytest.raises(ValueError, match=rf"camera {stranger} is not among .*\[3, 7, 9\]"):
        SideInformation([7, 3, 9], dim=2)(torch.tensor([3, stranger]))


def test_transreid_has_a_global_and_four_local_features_with_their_published_weights():
    extractor = TransReIDExtractor(vit())
    assert extractor.branches == (Branch(128, 0.5, 0.5, 1.0), *4 * [Branch(128, 0.125, 0.125, 0.25)])
    features = extractor.eval()(images(2))
    assert [f.shape for f in features] == 5 * [(2, 128)]
    x = images(2)
    torch.testing.assert_close(extractor(x)[0], extractor.encoder(x).cls)


def test_transreid_without_jigsaw_and_side_information_is_the_class_token():
    extractor = TransReIDExtractor(vit(), groups=0).eval()
    x = images(2)
    (feature,) = extractor(x)
    torch.testing.assert_close(feature, extractor.encoder(x).cls)
    assert extractor.branches == (Branch(128, 1.0, 1.0, 1.0),)


def test_camera_ids_go_with_side_information():
    with pytest.raises(ValueError, match="give camid"):
        TransReIDExtractor(vit(), camids=[0, 1])(images(1))
    with pytest.raises(ValueError, match="give none"):
        TransReIDExtractor(vit())(images(1), torch.tensor([0]))


def test_the_camera_changes_transreids_features():
    extractor = TransReIDExtractor(vit(), camids=[0, 1]).eval()
    x = images(1).expand(2, -1, -1, -1)
    features = extractor(x, torch.tensor([0, 1]))
    assert all(not torch.allclose(f[0], f[1]) for f in features)


def test_transreid_trains_end_to_end():
    extractor = TransReIDExtractor(vit(), camids=[0, 1])
    objective = BranchedObjective(BranchedModel(extractor, 2), PIDS)
    batch = {"image": images(), "pid": torch.tensor(PIDS), "camid": torch.tensor([0, 1, 0, 1])}
    objective(batch)["loss"].backward()
    idle = {name for name, p in extractor.named_parameters() if p.grad is None}
    assert idle == {"encoder.mask_token"}
    assert all(p.grad.isfinite().all() for p in extractor.parameters() if p.grad is not None)


def test_mgn_has_three_whole_two_half_and_three_third_features():
    extractor = MGNExtractor(resnet())
    features = extractor.eval()(images(2, (128, 64)))
    assert [f.shape for f in features] == 8 * [(2, 256)]
    assert [b.triplet for b in extractor.branches] == 3 * [1 / 3] + 5 * [0.0]
    assert sum(b.id for b in extractor.branches) == pytest.approx(1)


def test_mgns_stripes_are_maxima_over_rows_of_its_own_branch():
    extractor = MGNExtractor(resnet()).eval()
    x = images(2, (96, 32))
    features = extractor(x)
    shared = extractor.shared(x)
    whole, halves, thirds = (stage(shared) for stage in extractor.stages)
    assert (whole.shape[2], halves.shape[2], thirds.shape[2]) == (3, 6, 6)
    torch.testing.assert_close(features[2], extractor.reduce[2](thirds.amax((2, 3))))
    torch.testing.assert_close(features[4], extractor.reduce[4](halves[:, :, 3:].amax((2, 3))))
    torch.testing.assert_close(features[6], extractor.reduce[6](thirds[:, :, 2:4].amax((2, 3))))


def test_mgns_branches_start_equal_and_learn_apart():
    stages = MGNExtractor(resnet()).stages
    first, second = (dict(stage.named_parameters()) for stage in stages[1:])
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(first[name] is not second[name] for name in first)


def test_mgn_takes_a_resnet():
    with pytest.raises(ValueError, match="MGN takes a ResNet, not GhostNet"):
        MGNExtractor(build_backbone("ghostnet_0_5"))


def test_mgn_trains_end_to_end():
    extractor = MGNExtractor(resnet(ibn=True))
    objective = BranchedObjective(BranchedModel(extractor, 2), PIDS, margin=0.3)
    objective({"image": images(size=(96, 32)), "pid": torch.tensor(PIDS)})["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in extractor.parameters())


def test_the_objective_is_the_weighted_sum_of_each_branchs_own():
    model = BranchedModel(Two(), 2)
    objective = BranchedObjective(model, PIDS)
    batch = {"image": images(), "pid": torch.tensor(PIDS)}
    losses = objective(batch)
    want_id, want_triplet = 0.0, 0.0
    features = model.features(batch["image"])
    for branch, head, feature in zip(model.branches, model.heads, features, strict=True):
        alone = ReIDModel(nn.Identity(), 4, 2)
        alone.load_state_dict(head.state_dict())
        term = ReIDObjective(alone, PIDS)({"image": feature, "pid": batch["pid"]})
        want_id += branch.id * term["id"]
        want_triplet += branch.triplet * term["triplet"]
    torch.testing.assert_close(losses["id"], want_id)
    torch.testing.assert_close(losses["triplet"], want_triplet)
    torch.testing.assert_close(losses["loss"], want_id + want_triplet)


def test_the_descriptor_is_all_features_after_their_necks_weighted_and_of_unit_length():
    model = BranchedModel(Two(), 2).eval()
    for head in model.heads:
        head.neck.running_mean.normal_()
    x = images()
    first, second = (head.neck(f) for head, f in zip(model.heads, model.features(x), strict=True))
    torch.testing.assert_close(model(x), F.normalize(torch.cat([first, 0.5 * second], dim=1)))


def test_a_clips_feature_is_the_mean_of_its_frames():
    feature = ClassFeature(vit()).eval()
    clip = torch.randn(2, 3, 3, *SIZE)
    want = torch.stack([feature(clip[:, t]) for t in range(3)]).mean(0)
    torch.testing.assert_close(feature(clip), want)


def test_the_bag_of_tricks_is_a_baseline_of_these_parts():
    encoder = resnet()
    model = ReIDModel(ClassFeature(encoder), encoder.dim, 2)
    losses = ReIDObjective(model, PIDS, margin=0.3)({"image": images(), "pid": torch.tensor(PIDS)})
    losses["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


def test_fastreids_mgn_keeps_the_resolution_and_cuts_stripes_in_chunks():
    extractor = MGNExtractor(resnet(), "fastreid").eval()
    maps = extractor.maps(torch.rand(2, 3, 256, 32))
    assert [x.shape[2] for x in maps] == [16, 16, 16]
    found = extractor.reduce_maps(maps)
    pool, reduce = extractor.pools[7], extractor.reduce[7]
    torch.testing.assert_close(found[7], reduce(pool(maps[2][:, :, 12:]).flatten(1)))  # 6, 6 and 4 rows


def test_circle_logits_are_those_of_the_circle_loss():
    cosine, labels = torch.rand(5, 3) * 2 - 1, torch.tensor([0, 2, 1, 1, 0])
    scale, margin = 64.0, 0.35
    for row, label, found in zip(cosine.tolist(), labels, circle_logits(cosine, labels), strict=True):
        expected = [scale * max(0, c + margin) * (c - margin) for c in row]
        right = row[label]
        expected[label] = scale * max(0, 1 + margin - right) * (right - (1 - margin))
        torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-5, atol=1e-4)


def test_mgns_triplets_are_of_three_global_features_and_two_joined_ones():
    model = BranchedModel(MGNExtractor(resnet(), "fastreid"), num_classes=2)
    objective = CircleMGNObjective(model, [4, 9])
    batch = {"image": images(size=(128, 64)), "pid": torch.tensor([4, 4, 9, 9])}
    found = objective(batch)
    features = [head.neck(x) for head, x in zip(model.heads, model.extractor(batch["image"]), strict=True)]
    compared = [*features[:3], torch.cat(features[3:5], dim=1), torch.cat(features[5:], dim=1)]
    labels = torch.tensor([0, 0, 1, 1])
    mean = torch.stack([objective.first.triplet_loss(x, labels) for x in compared]).mean()
    torch.testing.assert_close(found["triplet"], mean)


def test_the_backbone_is_frozen_for_the_first_steps_and_learns_after_them():
    model = BranchedModel(MGNExtractor(resnet(), "fastreid"), num_classes=2)
    objective = CircleMGNObjective(model, [4, 9], frozen_steps=1)
    batch = {"image": images(size=(128, 64)), "pid": torch.tensor([4, 4, 9, 9])}
    statistics = model.extractor.shared[1].running_mean.clone()
    objective(batch)["loss"].backward()
    assert all(weight.grad is None for weight in model.extractor.stages.parameters())
    assert torch.equal(statistics, model.extractor.shared[1].running_mean)
    assert all(linear.weight.grad is not None for linear in model.extractor.reduce)
    objective.after_step(0)
    objective(batch)["loss"].backward()
    assert all(weight.grad is not None for weight in model.extractor.stages.parameters())
    assert not torch.equal(statistics, model.extractor.shared[1].running_mean)


def test_maps_of_too_few_rows_for_the_chunks_are_refused():
    with pytest.raises(ValueError, match="maps of 4 rows can't be cut in chunks for 3 stripes"):
        MGNExtractor(resnet(), "fastreid")(images())
