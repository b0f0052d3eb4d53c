"""BNNeck and its losses, against direct transcriptions of the equations."""

from __future__ import annotations

import itertools
import tempfile

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from reid_core.models.heads import ReIDModel, ReIDObjective

PIDS = [5, 5, 2, 2, 9, 9]


class Pool(nn.Module):
    """Images and clips to the mean over pixels (and frames), projected."""

    def __init__(self, dim: int = 4) -> None:
        super().__init__()
        self.project = nn.Linear(3, dim)

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.mean((-1, -2))
        return self.project(pixels if pixels.ndim == 2 else pixels.mean(1))


def objective(margin: float | None = None, pids: list[int] = PIDS, normalize: bool = False) -> ReIDObjective:
    torch.manual_seed(0)
    model = ReIDModel(Pool(), dim=4, num_classes=len(set(pids)))
    return ReIDObjective(model, pids, margin=margin, normalize=normalize)


def images(pids: list[int], seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {"image": torch.randn(len(pids), 3, 4, 2, generator=generator), "pid": torch.tensor(pids)}


def batch_hard(features: Tensor, pids: list[int], margin: float | None) -> Tensor:
    losses = []
    for anchor, pid in enumerate(pids):
        positives = [i for i, other in enumerate(pids) if other == pid and i != anchor]
        negatives = [i for i, other in enumerate(pids) if other != pid]
        if positives and negatives:
            far = max((features[anchor] - features[i]).norm() for i in positives)
            near = min((features[anchor] - features[i]).norm() for i in negatives)
            losses.append(
                (1 + (far - near).exp()).log() if margin is None else (far - near + margin).clamp(min=0)
            )
    return torch.stack(losses).mean() if losses else torch.tensor(0.0)


def smoothed(logits: Tensor, labels: list[int], epsilon: float = 0.1) -> Tensor:
    classes = logits.shape[1]
    target = torch.full_like(logits, epsilon / classes)
    target[range(len(labels)), labels] += 1 - epsilon
    return -(target * logits.log_softmax(1)).sum(1).mean()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([2, 5, 9]), min_size=2, max_size=9), st.sampled_from([None, 0.3, 2.0]))
def test_losses_are_the_equations(pids, margin):
    ours, batch = objective(margin), images(pids)
    losses = ours(batch)
    features = ours.model.extractor(batch["image"])
    normed = (features - features.mean(0)) / (features.var(0, unbiased=False) + 1e-5).sqrt()
    labels = [[2, 5, 9].index(pid) for pid in pids]
    identity = smoothed(normed @ ours.model.classifier.weight.T, labels)
    triplet = batch_hard(features, pids, margin)
    torch.testing.assert_close(losses["id"], identity, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(losses["triplet"], triplet, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(losses["loss"], identity + triplet, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("margin", [None, 0.3])
def test_triplets_of_normalised_features_compare_directions(margin):
    ours, batch = objective(margin, normalize=True), images(PIDS)
    unit = torch.nn.functional.normalize(ours.model.extractor(batch["image"]), dim=1)
    expected = batch_hard(unit, PIDS, margin)
    torch.testing.assert_close(ours(batch)["triplet"], expected, rtol=1e-4, atol=1e-5)


def test_triplets_are_mined_across_images_and_clips():
    ours = objective()
    batch = images([2, 5]) | {"clip": torch.randn(2, 3, 3, 4, 2), "clip_pid": torch.tensor([5, 2])}
    features = torch.cat([ours.model.features(batch["image"]), ours.model.features(batch["clip"])])
    torch.testing.assert_close(ours(batch)["triplet"], batch_hard(features, [2, 5, 5, 2], None))
    assert ours(batch)["triplet"] > 0  # alone, neither half has a positive pair
    assert ours(images([2, 5]))["triplet"] == 0


def test_clips_alone_may_use_pid():
    ours = objective()
    clip = torch.randn(4, 3, 3, 4, 2)
    pids = torch.tensor([2, 2, 5, 9])
    assert ours({"clip": clip, "pid": pids})["loss"] == ours({"clip": clip, "clip_pid": pids})["loss"]


def test_accuracy_is_the_part_that_is_classified_right():
    ours = objective()
    ours.model.classifier.weight.data = torch.tensor([[9.0, 0, 0, 0], [-9.0, 0, 0, 0], [0, 0, 0, 0]])
    ours.model.extractor.project.load_state_dict({"weight": torch.eye(4, 3), "bias": torch.zeros(4)})
    image = torch.tensor([1.0, 1.0, -1.0, -1.0])[:, None, None, None].expand(4, 3, 1, 1)
    assert ours({"image": image, "pid": torch.tensor([2, 2, 5, 9])})["accuracy"] == 0.75


def test_neck_has_no_learned_shift_and_classifier_no_bias():
    ours = objective()
    optimiser = torch.optim.SGD(ours.parameters(), lr=1.0)
    ours(images(PIDS))["loss"].backward()
    optimiser.step()
    assert torch.equal(ours.model.neck.bias, torch.zeros(4))
    assert ours.model.classifier.bias is None


def test_descriptor_is_the_normalised_feature_after_the_neck():
    model = objective().model
    model.neck.running_mean.fill_(0.5)
    model.eval()
    x = images(PIDS)["image"]
    torch.testing.assert_close(model(x), F.normalize(model.neck(model.extractor(x))))


def test_losses_stay_in_single_precision_under_autocast():
    ours, batch = objective(), images(PIDS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = ours(batch)
    assert {value.dtype for value in losses.values()} == {torch.float32}


def test_classes_travel_with_the_checkpoint():
    assert objective(pids=[7, 7, 3]).state_dict()["pids"].tolist() == [3, 7]


@pytest.mark.parametrize("stranger", [0, 4, 11])
def test_unknown_pid_is_named(stranger):
    with pytest.raises(ValueError, match=f"pid {stranger}, which is not among the 3 identities"):
        objective()(images([5, 5, stranger]))


def test_wrong_number_of_classes_is_an_error():
    with pytest.raises(ValueError, match="num_classes=4, pids hold 3"):
        ReIDObjective(ReIDModel(Pool(), 4, 4), PIDS)


def test_junk_among_the_pids_is_an_error():
    with pytest.raises(ValueError, match="-1, which marks junk"):
        objective(pids=[-1, 2])


def test_extractor_of_another_length_is_an_error():
    with pytest.raises(ValueError, match=r"returned \(6, 4\).*expected \(6, 5\)"):
        ReIDModel(Pool(4), dim=5, num_classes=3)(images(PIDS)["image"])


def test_batch_without_images_is_an_error():
    with pytest.raises(ValueError, match='expected "image", "clip" or both'):
        objective()({"pid": torch.tensor([2])})


def _rank_gradient(rank: int, file: str, results) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    ours, batch = objective(), images([2, 5, 9, 2, 5, 9])
    half = slice(3 * rank, 3 * rank + 3)
    triplet = ours({name: value[half] for name, value in batch.items()})
    (triplet["loss"] - triplet["id"]).backward()
    gradient = ours.model.extractor.project.weight.grad
    torch.distributed.all_reduce(gradient)
    results.put((float(triplet["triplet"]), (gradient / 2).tolist()))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_ranks_mine_over_the_whole_batch_and_average_to_its_gradient():
    context = torch.multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        ranks = [
            context.Process(target=_rank_gradient, args=(i, f"{folder}/meet", results)) for i in range(2)
        ]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join(60)
    assert [process.exitcode for process in ranks] == [0, 0]
    whole = objective()
    losses = whole(images([2, 5, 9, 2, 5, 9]))
    losses["triplet"].backward()
    for loss, gradient in itertools.islice(iter(results.get, None), 2):
        assert loss == pytest.approx(losses["triplet"].item(), rel=1e-5)
        torch.testing.assert_close(torch.tensor(gradient), whole.model.extractor.project.weight.grad)


def test_a_step_waits_for_the_device_in_the_miner_alone(host_reads):
    found, batch = objective(), images(PIDS)
    with host_reads() as reads:
        found(batch)["loss"].backward()
    # pytorch-metric-learning's: where the pairs are, twice, which anchors have both, and two constants.
    # On the CPU the one value read is that no pid is unknown; a GPU looks itself.
    miner = 3 * ["nonzero"] + 2 * ["lift_fresh"]
    assert sorted(reads) == sorted([*miner, "_local_scalar_dense"])


def test_the_descriptor_before_the_neck_is_the_feature_of_unit_length():
    model = ReIDModel(nn.Linear(6, 4), dim=4, num_classes=0, descriptor="before").eval()
    nn.init.normal_(model.neck.running_mean)
    x = torch.randn(3, 6)
    torch.testing.assert_close(model(x), F.normalize(model.extractor(x), dim=1))
    assert model.without_classifier().descriptor == "before"
