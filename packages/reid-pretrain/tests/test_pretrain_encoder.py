"""The resampler and the shared encoder of images and videos (Eqs. 6-7)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from einops import rearrange, repeat
from torch import nn

from reid_pretrain import PerceiverResampler, VideoImageEncoder

DIM, L, FRAMES = 8, 3, 4


class Patches(nn.Module):
    """2x2 patches by one linear layer: the smallest encoder with masks."""

    dim = DIM

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, DIM)
        self.mask_token = nn.Parameter(torch.randn(DIM))

    def forward(self, x, mask=None):
        grid = (x.shape[2] // 2, x.shape[3] // 2)
        patches = self.linear(rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=2))
        if mask is not None:
            patches = torch.where(mask[..., None], self.mask_token, patches)
        return SimpleNamespace(cls=patches.mean(1), patches=patches, grid=grid)


@pytest.fixture
def resampler():
    torch.manual_seed(0)
    made = PerceiverResampler(DIM, num_tokens=L, depth=2, heads=2, max_frames=FRAMES)
    nn.init.normal_(made.queries)
    return made


@pytest.fixture
def encoder(resampler):
    return VideoImageEncoder(Patches(), resampler)


@pytest.mark.parametrize(
    "shape", [(2, 1, DIM), (2, 37, DIM), (2, 1, 5, DIM), (2, 4, 5, DIM), (2, 11, 3, DIM)]
)
def test_any_number_of_tokens_and_frames_becomes_l_tokens(resampler, shape):
    tokens = torch.randn(shape)
    assert resampler(tokens).shape == (2, L, DIM)
    assert resampler.attention(tokens).shape == (2, L, *shape[1:-1])


def test_before_training_a_still_videos_frames_are_the_same_to_the_resampler(resampler):
    """The time embedding starts at zero, so equal frames get equal attention."""
    image = torch.randn(2, 6, DIM)
    video = repeat(image, "b n d -> b t n d", t=FRAMES)
    torch.testing.assert_close(resampler(video), resampler(rearrange(video, "b t n d -> b (t n) d")))
    attention = resampler.attention(video)
    torch.testing.assert_close(attention, attention[:, :, :1].expand_as(attention))


def test_before_training_the_order_of_frames_does_not_count(resampler):
    video = torch.randn(2, FRAMES, 5, DIM)
    torch.testing.assert_close(resampler(video), resampler(video.flip(1)))


def test_a_learnt_time_embedding_tells_the_order_of_frames(resampler):
    nn.init.normal_(resampler.time)
    video = torch.randn(2, FRAMES, 5, DIM)
    assert (resampler(video) - resampler(video.flip(1))).abs().max() > 1e-3


def test_the_time_embedding_of_other_lengths_is_interpolated(resampler):
    ramp = torch.arange(FRAMES, dtype=torch.float)[:, None].expand(FRAMES, DIM)
    with torch.no_grad():
        resampler.time.copy_(ramp)
    for frames in (1, 2, 3, 8):
        time = resampler.flatten(torch.zeros(1, frames, 1, DIM))[0, :, 0]
        assert (time.diff() >= 0).all() if frames > 1 else True
        torch.testing.assert_close(time.mean(), ramp.mean())
    torch.testing.assert_close(resampler.flatten(torch.zeros(1, FRAMES, 1, DIM))[0], ramp)


def test_the_order_of_an_images_tokens_does_not_count(resampler):
    tokens = torch.randn(2, 9, DIM)
    order = torch.randperm(9)
    torch.testing.assert_close(resampler(tokens[:, order]), resampler(tokens))
    attention = resampler.attention(tokens)
    torch.testing.assert_close(resampler.attention(tokens[:, order]), attention[..., order])


def test_attention_is_what_the_query_gives_the_tokens_beside_the_queries(resampler):
    total = resampler.attention(torch.randn(2, 9, DIM)).sum(-1)
    assert (total > 0).all()
    assert (total < 1).all()  # the rest goes to the queries themselves


def test_attention_weights_are_those_of_the_layer():
    """With one head and values of one, the tokens' share of the output is the sum of the returned weights."""
    torch.manual_seed(0)
    layer = PerceiverResampler(DIM, num_tokens=L, depth=1, heads=1).layers[0].attention
    queries, tokens = torch.randn(1, L, DIM), torch.randn(1, 5, DIM)
    q, k, v = layer.project(queries, tokens)
    weights = layer.weights(queries, tokens)
    own = (q @ k.transpose(-1, -2) / DIM**0.5).softmax(-1)[:, 0, :, 5:]
    mixed = weights @ v[:, 0, :5] + own @ v[:, 0, 5:]
    torch.testing.assert_close(layer.to_out(mixed), layer(queries, tokens))


def test_a_dim_that_heads_do_not_divide_is_an_error():
    with pytest.raises(ValueError, match="dim=8 is no multiple of heads=3"):
        PerceiverResampler(8, heads=3)


def test_images_and_videos_of_any_size_become_the_same_tokens(encoder):
    assert encoder.dim == L * DIM
    for shape in [(2, 3, 8, 4), (2, 3, 4, 6), (2, 5, 3, 8, 4), (2, 1, 3, 4, 4)]:
        x = torch.randn(shape)
        assert encoder(x).shape == (2, L, DIM)
        assert encoder.descriptor(x).shape == (2, encoder.dim)
        torch.testing.assert_close(encoder.descriptor(x), encoder(x).flatten(1))
    patches, tokens = encoder.encode(torch.randn(2, 5, 3, 8, 4))
    assert patches.shape == (2, 5, 8, DIM)
    assert tokens.shape == (2, L, DIM)


def test_a_videos_patches_are_its_frames_patches(encoder):
    video = torch.randn(2, 5, 3, 8, 4)
    patches, _ = encoder.encode(video)
    for t in range(5):
        torch.testing.assert_close(patches[:, t], encoder.encode(video[:, t])[0])


def test_masks_of_videos_hide_the_patches_of_their_frame(encoder):
    video = torch.randn(2, 5, 3, 8, 4)
    mask = torch.rand(2, 5, 8) < 0.5
    patches, _ = encoder.encode(video, mask)
    open_patches, _ = encoder.encode(video)
    hidden = encoder.encoder.mask_token.expand(int(mask.sum()), DIM)
    torch.testing.assert_close(patches[mask], hidden)
    torch.testing.assert_close(patches[~mask], open_patches[~mask])


def test_query_attention_maps_lie_on_the_patch_grid(encoder):
    encoder.eval()
    images, videos = torch.randn(2, 3, 8, 4), torch.randn(2, 5, 3, 8, 4)
    assert encoder.query_attention(images).shape == (2, L, 4, 2)
    assert encoder.query_attention(videos).shape == (2, L, 5, 4, 2)
    tokens = encoder.encoder(images)
    every = torch.cat([tokens.cls[:, None], tokens.patches], dim=1)
    want = encoder.resampler.attention(every)[..., 1:]
    torch.testing.assert_close(encoder.query_attention(images).flatten(-2), want)


def test_query_attention_refuses_training_mode(encoder):
    with pytest.raises(RuntimeError, match=r"call \.eval\(\)"):
        encoder.train().query_attention(torch.randn(1, 3, 8, 4))
