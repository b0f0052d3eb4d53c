"""VILLS' objective: student, teacher, heads and the weighted sum of losses (Eqs. 6-12)."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from reid_pretrain import CION, VILLS, CIONConfig, PerceiverResampler, VideoImageEncoder, VILLSConfig
from reid_pretrain.heads import EmbeddingHead, PrototypeHead
from reid_pretrain.schedules import cosine

DIM, TOKENS, K = 8, 2, 12
IMAGES, VIDEOS, VIEWS, AREAS, FRAMES, PATCHES = 4, 3, 2, 3, 2, 8
WEIGHTS = {"feature": 0.7, "masking": 1.1, "koleo": 0.3, "alignment": 1.9}


class Patches(nn.Module):
    """2x2 patches by one layer and no word between them: the smallest encoder with masks."""

    dim = DIM

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, DIM)
        self.mask_token = nn.Parameter(torch.randn(DIM))

    def forward(self, x, mask=None):
        patches = self.linear(rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=2))
        if mask is not None:
            patches = torch.where(mask[..., None], self.mask_token, patches)
        return SimpleNamespace(
            cls=patches.tanh().mean(1), patches=patches, grid=(x.shape[2] // 2, x.shape[3] // 2)
        )


def objective(steps: int = 10, **settings) -> VILLS:
    torch.manual_seed(0)
    model = VideoImageEncoder(Patches(), PerceiverResampler(DIM, TOKENS, heads=2, max_frames=FRAMES))
    weights = {f"{name}_weight": weight for name, weight in WEIGHTS.items()}
    sizes = {"prototypes": K, "head_hidden": 16, "head_bottleneck": 6, "embedding": 5}
    return VILLS(model, VILLSConfig(**{**sizes, **weights, **settings}), steps)


def image_batch(seed: int = 1) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    valid = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 1, 0]], dtype=torch.bool)
    return {
        "images": torch.randn(IMAGES, VIEWS, 3, 8, 4),
        "image_masks": torch.rand(IMAGES, VIEWS, PATCHES) < 0.4,
        "image_regions": torch.randn(IMAGES, AREAS, 3, 4, 4),
        "image_regions_valid": valid,
    }


def video_batch(seed: int = 2) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    videos = torch.randn(VIDEOS, VIEWS, FRAMES, 3, 8, 4)
    return {
        "videos": videos,
        "video_masks": torch.rand(VIDEOS, VIEWS, FRAMES, PATCHES) < 0.4,
        "video_regions": torch.randn(VIDEOS, AREAS, FRAMES, 3, 4, 4),
        "video_regions_valid": torch.tensor([[1, 1, 1], [0, 1, 0], [1, 0, 0]], dtype=torch.bool),
        "frames": videos[:, 0, 0],
    }


def both() -> dict[str, Tensor]:
    return {**image_batch(), **video_batch()}


def distinct(vills: VILLS) -> VILLS:
    """A teacher unlike the student, as after some training."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in vills.teacher.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return vills


def test_the_papers_weights_are_the_defaults():
    config = VILLSConfig()
    weights = (config.feature_weight, config.masking_weight, config.koleo_weight, config.alignment_weight)
    assert weights == (1.0, 1.0, 3.0, 2.0)


def test_the_loss_is_the_weighted_sum_of_its_parts():
    losses = distinct(objective())(both())
    assert set(losses) == {"loss", *WEIGHTS}
    assert all(losses[name].ndim == 0 and losses[name] != 0 for name in losses)
    want = sum(weight * losses[name] for name, weight in WEIGHTS.items())
    torch.testing.assert_close(losses["loss"], want)


def test_images_alone_have_no_alignment_and_videos_alone_have_all_losses():
    assert set(objective()(image_batch())) == {"loss", "feature", "masking", "koleo"}
    assert set(objective()(video_batch())) == {"loss", *WEIGHTS}


def test_losses_of_both_modalities_are_the_mean_of_each_ones():
    together = distinct(objective())(both())
    images, videos = (distinct(objective())(batch) for batch in (image_batch(), video_batch()))
    for name in ("feature", "masking", "koleo"):
        torch.testing.assert_close(together[name], (images[name] + videos[name]) / 2)
    torch.testing.assert_close(together["alignment"], videos["alignment"])


def test_a_batch_of_neither_modality_says_what_it_has():
    with pytest.raises(ValueError, match=r"neither 'images' nor 'videos': got \['frames'\]"):
        objective()({"frames": torch.zeros(1, 3, 8, 4)})


def entropy(teacher: Tensor, student: Tensor) -> Tensor:
    return -((teacher / 0.04).softmax(-1) * (student / 0.1).log_softmax(-1)).sum(-1).mean()


def per_view(batch: dict[str, Tensor], name: str):
    """(original [1 ...], mask [1 ...]) of each view of each image or video."""
    return [
        [(views[g : g + 1], masks[g : g + 1]) for g in range(VIEWS)]
        for views, masks in zip(batch[f"{name}s"], batch[f"{name}_masks"], strict=True)
    ]


@pytest.mark.parametrize(("name", "make"), [("image", image_batch), ("video", video_batch)])
def test_the_feature_loss_pairs_views_and_regions_of_the_same_person_only(name, make):
    """Eq. 8 image by image, in eval mode: there no batch statistic ties one image to another."""
    vills, batch = distinct(objective()).eval(), make()
    student, teacher = vills.student, vills.teacher
    pairs: dict[tuple, list[Tensor]] = {}
    for i, views in enumerate(per_view(batch, name)):
        teachers = [teacher.feature_heads[name](teacher.model(x)) for x, _ in views]
        students = {
            g: student.feature_heads[name](student.model.encode(x, mask)[1])
            for g, (x, mask) in enumerate(views)
        }
        for area in range(AREAS):
            if batch[f"{name}_regions_valid"][i, area]:
                region = batch[f"{name}_regions"][i, area][None]
                students["area", area] = student.feature_heads[name](student.model(region))
        for t, target in enumerate(teachers):
            for s, logits in students.items():
                if t != s:
                    pairs.setdefault((t, s), []).append(entropy(target, logits))
    want = torch.stack([torch.stack(terms).mean() for terms in pairs.values()]).mean()
    torch.testing.assert_close(vills(batch)["feature"], want)


@pytest.mark.parametrize(("name", "make"), [("image", image_batch), ("video", video_batch)])
def test_the_masking_loss_compares_hidden_patches_with_the_teachers_of_the_same_place(name, make):
    vills, batch = distinct(objective()).eval(), make()
    terms = []
    for views in per_view(batch, name):
        for x, mask in views:
            hidden = vills.student.model.encode(x, mask)[0][mask]
            target = vills.teacher.model.encode(x)[0][mask]
            head = vills.student.masking_heads[name](hidden)
            terms.append(entropy(vills.teacher.masking_heads[name](target), head))
    torch.testing.assert_close(vills(batch)["masking"], torch.stack(terms).mean())


def test_koleo_is_of_the_students_tokens_view_by_view():
    vills, batch = objective(), image_batch()
    want = [
        vills.koleo_loss(
            vills.student.model.encode(batch["images"][:, g], batch["image_masks"][:, g])[1].flatten(1)
        )
        for g in range(VIEWS)
    ]
    torch.testing.assert_close(vills(batch)["koleo"], torch.stack(want).mean())


def test_alignment_pairs_a_videos_masked_first_view_with_its_frame():
    vills, batch = objective().eval(), video_batch()
    model, heads = vills.student.model, vills.alignment_heads
    tokens = model.encode(batch["videos"][:, 0], batch["video_masks"][:, 0])[1].flatten(1)
    want = vills.alignment_loss(heads["video"](tokens), heads["image"](model.descriptor(batch["frames"])))
    torch.testing.assert_close(vills(batch)["alignment"], want)


def test_all_heads_align_by_the_outputs_of_feature_and_masking_heads():
    vills, batch = objective(alignment_heads="all").eval(), video_batch()
    student = vills.student
    videos = student.model.encode(batch["videos"][:, 0], batch["video_masks"][:, 0])[1]
    frames = student.model(batch["frames"])
    want = [
        vills.alignment_loss(heads["video"](videos).flatten(1), heads["image"](frames).flatten(1))
        for heads in (student.feature_heads, student.masking_heads)
    ]
    losses = vills(batch)
    torch.testing.assert_close(losses["alignment"], sum(want) / 2)
    assert not list(vills.alignment_heads.parameters())  # no head that would never learn
    losses["alignment"].backward()
    for heads in (student.feature_heads, student.masking_heads):
        assert all(p.grad.any() for head in heads.values() for p in head.parameters() if p.ndim > 1)


def test_the_teacher_sees_originals_unmasked_and_the_student_also_regions():
    vills, seen = objective(), {"student": [], "teacher": []}
    for name, calls in seen.items():
        encoder = getattr(vills, name).model.encoder
        encoder.register_forward_pre_hook(lambda _, args, calls=calls: calls.append(args))
    batch = image_batch()
    vills(batch)
    views = rearrange(batch["images"], "b g c h w -> (g b) c h w")
    ((x, mask),) = seen["teacher"]
    assert torch.equal(x, views)
    assert mask is None
    (x, mask), (regions, region_mask) = seen["student"]
    assert torch.equal(x, views)
    assert torch.equal(mask, rearrange(batch["image_masks"], "b g n -> (g b) n"))
    assert len(regions) == batch["image_regions_valid"].sum()
    assert region_mask is None


@pytest.mark.parametrize("name", ["image", "video"])
def test_invalid_regions_are_ignored_and_valid_ones_count(name):
    batch = both()
    want = objective()(batch)["loss"]
    regions, valid = batch[f"{name}_regions"], batch[f"{name}_regions_valid"]
    changed = regions.clone()
    changed[~valid] = torch.nan
    assert torch.equal(objective()({**batch, f"{name}_regions": changed})["loss"], want)
    changed = regions.clone()
    changed[valid] += 1
    assert not torch.equal(objective()({**batch, f"{name}_regions": changed})["loss"], want)


def test_a_batch_without_a_valid_region_or_a_hidden_patch_still_learns():
    batch = image_batch()
    batch["image_regions_valid"] = torch.zeros(IMAGES, AREAS, dtype=torch.bool)
    batch["image_masks"] = torch.zeros(IMAGES, VIEWS, PATCHES, dtype=torch.bool)
    vills = objective()
    losses = vills(batch)
    losses["loss"].backward()
    assert losses["masking"] == 0
    assert vills.student.model.encoder.linear.weight.grad.isfinite().all()
    assert all(p.grad is not None for p in vills.student.masking_heads["image"].parameters())


def test_a_single_hidden_patch_which_batch_norm_cannot_see_alone_hides_nothing():
    batch = image_batch()
    batch["image_masks"] = torch.zeros(IMAGES, VIEWS, PATCHES, dtype=torch.bool)
    want = objective()(batch)["loss"]
    batch["image_masks"][2, 1, 3] = True
    assert torch.equal(objective()(batch)["loss"], want)


def test_gradients_reach_every_part_of_the_student_and_nothing_of_the_teacher():
    vills = objective()
    vills(both())["loss"].backward()
    for name, parameter in vills.named_parameters():
        if name.startswith("teacher."):
            assert not parameter.requires_grad
            assert parameter.grad is None, name
        # a bias before the normalisation of a softmax or a mean has no effect on the loss, but has its place
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    student = vills.student
    for parameter in (
        student.model.encoder.linear.weight,
        student.model.encoder.mask_token,
        student.model.resampler.queries,
        student.model.resampler.time,
        *(p for p in student.model.resampler.parameters() if p.ndim > 1),
        *(p for head in student.feature_heads.values() for p in head.parameters() if p.ndim > 1),
        *(p for head in student.masking_heads.values() for p in head.parameters() if p.ndim > 1),
        *(p for p in vills.alignment_heads.parameters() if p.ndim > 1),
        vills.alignment_loss.log_scale,
    ):
        assert parameter.grad.any()


def test_images_alone_train_no_head_of_videos():
    vills = objective()
    vills(image_batch())["loss"].backward()
    heads = [vills.student.feature_heads["video"], vills.student.masking_heads["video"]]
    heads.append(vills.alignment_heads)
    assert all(p.grad is None for head in heads for p in head.parameters())


def test_the_teacher_starts_as_the_student_and_apart_from_it():
    vills = objective()
    pairs = list(zip(vills.teacher.parameters(), vills.student.parameters(), strict=True))
    assert all(torch.equal(t, s) for t, s in pairs)
    assert all(t.data_ptr() != s.data_ptr() for t, s in pairs)


def drops(encoder: nn.Module) -> nn.Module:
    """An encoder with dropout and a batch norm."""
    encoder.linear = nn.Sequential(encoder.linear, nn.Dropout(0.5), nn.Flatten(0, 1), nn.BatchNorm1d(DIM))
    encoder.linear.append(nn.Unflatten(0, (-1, PATCHES)))
    return encoder


@pytest.mark.parametrize("trained", [False, True], ids=["made", "train()"])
def test_a_teacher_drops_nothing_and_its_batch_norms_see_the_batch(trained):
    """VILLS' and CION's teachers alike."""
    torch.manual_seed(0)
    sizes = {"prototypes": K, "head_hidden": 16}
    model = VideoImageEncoder(drops(Patches()), PerceiverResampler(DIM, TOKENS, heads=2, max_frames=FRAMES))
    vills = VILLS(model, VILLSConfig(**sizes, head_bottleneck=6, embedding=5), 10)
    cion = CION(drops(Patches()), CIONConfig(**sizes, head_bottleneck=6), 10)
    images = torch.randn(IMAGES, 3, 8, 4)
    for module, encode in ((vills, lambda one: one.model.encoder), (cion, lambda one: one.backbone)):
        if trained:
            module.eval().train()
        teacher, student = encode(module.teacher), encode(module.student)
        assert torch.equal(teacher(images).cls, teacher(images).cls)
        assert not torch.equal(student(images).cls, student(images).cls)
        before = teacher.linear[3].running_mean.clone()
        teacher(images + 1)
        assert not torch.equal(before, teacher.linear[3].running_mean)
        assert not any(one.training for one in module.eval().teacher.modules())


@pytest.mark.parametrize("step", [0, 3, 9])
def test_the_teacher_moves_by_exactly_the_moving_average(step):
    vills = distinct(objective(steps=10, momentum=0.9))
    before = [p.clone() for p in vills.teacher.parameters()]
    student = [p.clone() for p in vills.student.parameters()]
    momentum = cosine(0.9, 1.0, step, 10)
    vills.after_step(step)
    for old, s, new in zip(before, student, vills.teacher.parameters(), strict=True):
        torch.testing.assert_close(new, momentum * old + (1 - momentum) * s, rtol=1e-6, atol=1e-7)
    assert all(torch.equal(s, p) for s, p in zip(student, vills.student.parameters(), strict=True))
    assert vills.step == step + 1


def test_prototypes_are_frozen_for_the_first_steps_only():
    vills = objective(freeze_prototypes_steps=1)
    weights = [head.prototypes.weight for head in vills.student.feature_heads.values()]
    weights += [head.prototypes.weight for head in vills.student.masking_heads.values()]
    vills(both())["loss"].backward()
    assert all(weight.grad is None for weight in weights)
    vills.after_step(0)
    vills(both())["loss"].backward()
    assert all(weight.grad.any() for weight in weights)


def test_a_saved_state_goes_on_where_it_was():
    vills = objective()
    vills(both())
    vills.after_step(4)
    other = objective()
    other.load_state_dict(copy.deepcopy(vills.state_dict()))
    assert other.step == 5
    ours, theirs = vills(both()), other(both())
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_few_steps_on_a_toy_problem_lower_the_loss():
    vills, batch = objective(steps=40, momentum=0.99), both()
    optimizer = torch.optim.AdamW([p for p in vills.parameters() if p.requires_grad], lr=3e-3)
    history: list[dict[str, float]] = []
    for step in range(40):
        losses = vills(batch)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        vills.after_step(step)
        history.append({name: value.item() for name, value in losses.items()})
    assert history[-1]["loss"] < 0.8 * history[0]["loss"]
    assert history[-1]["alignment"] < history[0]["alignment"]


def test_prototype_logits_are_cosines():
    torch.manual_seed(0)
    head = PrototypeHead(DIM, prototypes=K, hidden=16, bottleneck=6)
    logits = head(torch.randn(5, 3, DIM))
    assert logits.shape == (5, 3, K)
    assert logits.abs().max() <= 1 + 1e-6
    with torch.no_grad():
        head.prototypes.weight.mul_(10)
    torch.manual_seed(1)
    x = torch.randn(5, 3, DIM)
    scaled = head.eval()(x)
    with torch.no_grad():
        head.prototypes.weight.div_(10)
    torch.testing.assert_close(head(x), scaled)


@pytest.mark.parametrize(
    "head", [PrototypeHead(DIM, prototypes=K, hidden=16, bottleneck=6), EmbeddingHead(DIM, out=5, hidden=16)]
)
def test_heads_are_perceptrons_with_batch_norm(head):
    assert any(isinstance(module, nn.BatchNorm1d) for module in head.modules())
    assert head(torch.randn(4, DIM)).shape == (4, K if isinstance(head, PrototypeHead) else 5)


def test_an_encoder_that_says_it_hides_no_patches_is_refused_before_any_step():
    model = VideoImageEncoder(Patches(), PerceiverResampler(DIM, TOKENS, heads=2, max_frames=FRAMES))
    model.encoder.takes_mask = False
    with pytest.raises(ValueError, match="Patches can't hide patches"):
        VILLS(model)
