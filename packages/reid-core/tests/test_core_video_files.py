"""Video files as they come: cut short, damaged, turned, of other codecs and rates, empty."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from reid_core.video import TrackletConfig, UnreadableVideo, extract_tracklets, read_frames, unreadable_videos

pytestmark = pytest.mark.faults

HEIGHT, WIDTH, FRAMES, RATE = 64, 96, 60, 10
CODECS = {"mkv": "libx264", "webm": "libvpx", "ts": "mpeg2video", "mpg": "mpeg2video", "avi": "mpeg4"}
CODECS |= {"mp4": "libx264", "mov": "libx264", "flv": "libx264"}


def picture(number: int) -> np.ndarray:
    """Noise that moves from frame to frame, brighter above than below."""
    noise = np.random.default_rng(0).integers(0, 128, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    noise[: HEIGHT // 2] += 127
    return np.roll(noise, number, axis=1)


def write(path, codec="mpeg4", frames=FRAMES, times=None):
    """A video without sound; `times` are its frames', in ticks of a hundredth of a second."""
    options = {"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 400_000
        if codec == "libx265":
            stream.options = {"x265-params": "log-level=none"}
        if times:
            stream.codec_context.time_base = Fraction(1, 100)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            if times:
                frame.pts, frame.time_base = times[number], Fraction(1, 100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def places(path):
    """Where each frame's packet lies in the file."""
    with av.open(str(path)) as container:
        return [slice(p.pos, p.pos + p.size) for p in container.demux(video=0) if p.dts is not None]


@pytest.mark.parametrize("suffix", CODECS)
def test_a_half_downloaded_video_is_not_taken_as_whole(suffix, tmp_path):
    path = write(tmp_path / f"street.{suffix}", CODECS[suffix])
    assert len(list(read_frames(path))) == FRAMES
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 42 // 100])
    frames = []
    with pytest.raises(UnreadableVideo, match=rf"street.{suffix}: (is damaged from|ends early, with)"):
        frames.extend(read_frames(path))
    assert len(frames) < FRAMES


def test_the_message_on_half_a_video_says_how_much_is_there(tmp_path):
    path = write(tmp_path / "street.mkv", "libx264")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 42 // 100])
    with pytest.raises(UnreadableVideo, match=r"ends early, with \d\.\d of its 6\.0 seconds \(\d\d frames\)"):
        list(read_frames(path))


def test_half_a_transport_stream_that_ends_between_two_frames_is_told_by_its_last_packet(tmp_path):
    path = write(tmp_path / "street.ts", "mpeg2video")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UnreadableVideo, match="ends within a packet"):
        list(read_frames(path))


def test_damage_within_a_video_is_named_and_no_frame_after_it_given(tmp_path):
    path = write(tmp_path / "street.mkv", "mpeg2video")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    path.write_bytes(content)
    numbers = []
    with pytest.raises(UnreadableVideo, match="is damaged from frame|ends early"):
        numbers.extend(frame.number for frame in read_frames(path))
    assert numbers == list(range(len(numbers))) and len(numbers) < FRAMES


def test_a_few_frames_less_than_declared_are_noticed(tmp_path):
    """Four frames of ten a second are less than what a duration may lack."""
    path = write(tmp_path / "street.mp4")
    path.write_bytes(path.read_bytes()[: places(path)[56].start])
    with pytest.raises(UnreadableVideo, match="ends early, with 56 of its 60 frames"):
        list(read_frames(path))


def test_a_frame_that_cannot_be_decoded_is_damage(tmp_path):
    """All packets are there, and so is the whole duration."""
    path = write(tmp_path / "street.mp4")
    content = bytearray(path.read_bytes())
    lost = places(path)[40]
    content[lost] = bytes(lost.stop - lost.start)
    path.write_bytes(content)
    with pytest.raises(UnreadableVideo, match="is damaged from frame 40 on; fetch"):
        list(read_frames(path))


def test_a_packet_that_the_receiver_marked_as_damaged_is_damage(tmp_path):
    path = write(tmp_path / "street.ts", "mpeg2video")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 // 188 * 188 + 1] |= 0x80  # a transport packet's error indicator
    path.write_bytes(content)
    with pytest.raises(UnreadableVideo, match="is damaged from frame 2[0-9] on; fetch"):
        list(read_frames(path))


def test_a_half_downloaded_video_gives_no_tracklets_and_is_reported(tmp_path):
    (tmp_path / "in").mkdir()
    path = write(tmp_path / "in" / "street.mkv", "libx264")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    box = (np.array([[8, 8, 24, 56]]), np.array([0.9]))
    manifest = extract_tracklets(
        tmp_path / "in", tmp_path / "out", lambda frames: [box] * len(frames), progress=False
    )
    assert len(manifest) == 0
    assert "ends early" in unreadable_videos(tmp_path / "out", tmp_path / "in")["street.mkv"]


IDENTITY = b"".join(n.to_bytes(4, "big") for n in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
QUARTER = b"".join(n.to_bytes(4, "big", signed=True) for n in (0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30))


def test_a_turn_that_the_file_asks_for_is_applied(tmp_path):
    """The track's matrix of a telephone held upright: players turn the picture clockwise by 90 degrees."""
    path = write(tmp_path / "upright.mp4", frames=2)
    stored = next(read_frames(path)).image
    content = path.read_bytes()
    track = content.index(b"tkhd")
    turned = content[track:].replace(IDENTITY, QUARTER, 1)
    path.write_bytes(content[:track] + turned)
    assert np.array_equal(next(read_frames(path)).image, np.rot90(stored, -1))


def test_hevc_is_read(tmp_path):
    if "libx265" not in av.codecs_available:
        pytest.skip("this build of FFmpeg writes no HEVC")
    frames = list(read_frames(write(tmp_path / "street.mkv", "libx265", frames=5)))
    assert [frame.number for frame in frames] == list(range(5))
    assert np.abs(frames[4].image.astype(int) - picture(4)).mean() < 40


def test_a_variable_frame_rate_loses_no_frame(tmp_path):
    times = np.cumsum([0, *([4, 30, 10, 90] * 5)])[:20].tolist()
    frames = list(read_frames(write(tmp_path / "street.mkv", "libx264", frames=20, times=times)))
    assert [frame.number for frame in frames] == list(range(20))


def test_a_video_of_one_frame_is_whole(tmp_path):
    assert len(list(read_frames(write(tmp_path / "still.mp4", frames=1)))) == 1


@pytest.mark.parametrize("none", [(np.zeros((0, 4)), np.zeros(0)), ([], [])], ids=["arrays", "lists"])
def test_a_video_without_detections_is_done_and_gives_an_empty_manifest(none, tmp_path):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "empty.mp4", frames=10)
    calls = []

    def detect(frames):
        calls.append(1)
        return [none] * len(frames)

    for _ in range(2):
        manifest = extract_tracklets(tmp_path / "in", tmp_path / "out", detect, progress=False)
    assert len(manifest) == 0 and len(calls) == 2  # ten frames in eights, once
    assert unreadable_videos(tmp_path / "out", tmp_path / "in") == {}


def test_pairs_of_boxes_and_scores_are_detections(tmp_path):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "street.mp4", frames=12)
    box = ([[8, 8, 24, 56]], [0.9])
    manifest = extract_tracklets(
        tmp_path / "in", tmp_path / "out", lambda frames: [box] * len(frames), progress=False
    )
    assert [len(rows) for rows in manifest.tracklets()] == [11]  # all but the track's first frame


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((3, 4)), "expected boxes and scores"),
        (([[1, 2, 3]], [0.5]), r"boxes \(1, 3\) and scores \(1,\) for frame 0"),
        (([[1, 2, 3, 4]], [0.5, 0.6]), r"boxes \(1, 4\) and scores \(2,\)"),
        (([[1, 2, np.nan, 4]], [0.5]), "not finite, frame 0"),
    ],
)
def test_a_detector_that_returns_something_else_is_refused(given, message, tmp_path):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "street.mp4", frames=2)
    with pytest.raises(ValueError, match=message):
        extract_tracklets(
            tmp_path / "in", tmp_path / "out", lambda frames: [given] * len(frames), progress=False
        )


def test_frames_of_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    path = write(tmp_path / "large.mp4", frames=1)
    monkeypatch.setattr("reid_core.data.decoding.MAX_PIXELS", WIDTH * HEIGHT - 1)
    monkeypatch.setattr("reid_core.video.frames._decode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UnreadableVideo, match="large.mp4: has frames of 96 x 64 pixels; expected at most"):
        next(read_frames(path))


def test_short_tracks_of_a_short_video_are_left_out(tmp_path):
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "still.mp4", frames=1)
    box = ([[8, 8, 24, 56]], [0.9])
    manifest = extract_tracklets(
        tmp_path / "in",
        tmp_path / "out",
        lambda frames: [box] * len(frames),
        TrackletConfig(min_frames=1),
        progress=False,
    )
    assert len(manifest) == 0  # ByteTrack takes a track for one from its second frame on


@pytest.mark.parametrize(
    ("codec", "pixels", "width", "full_range"),
    [
        ("mpeg4", "yuv420p", 96, False),
        ("mpeg4", "yuv420p", 50, False),  # rows padded in memory
        ("libx264", "yuv444p", 50, False),
        ("libx264", "yuv420p", 96, True),
        ("mjpeg", "yuvj422p", 50, True),
        ("libx264", "yuv420p10le", 50, False),
        ("libx264rgb", "rgb24", 50, False),
        ("ffv1", "gray", 50, False),
    ],
)
def test_pictures_are_those_of_the_frames_themselves_also_while_others_are_held(
    codec, pixels, width, full_range, tmp_path
):
    path = tmp_path / "street.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = width, HEIGHT, pixels
        if full_range:
            stream.codec_context.color_range = av.video.reformatter.ColorRange.JPEG
        for number in range(6):
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(picture(number)[:, :width]), format="rgb24"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        expected = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    found = [frame.image for frame in read_frames(path)]
    np.testing.assert_array_equal(found, expected)
