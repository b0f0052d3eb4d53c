"""Protocols: each pair that counts, as the data sets' papers say, and trials over them."""

import numpy as np
import pytest
import torch

from reid_eval import PROTOCOLS, average, check_order, evaluate, find_protocol, pool_templates, rank
from reid_eval.inputs import Columns
from reid_eval.protocols import (
    OWN_PERSON,
    all_pairs,
    cloth_changing,
    cross_camera,
    image_to_video,
    same_clothes,
    single_gallery_shot,
    single_shot,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*enter no mean")


def columns(**values):
    return Columns({name: torch.tensor(column) for name, column in values.items()})


QUERY = columns(pid=[1], camid=[0], clothes=[10], tracklet=[5], platform=[0], row=[0])
GALLERY = columns(
    pid=[1, 1, 1, 2, 2],
    camid=[0, 1, 1, 0, 1],
    clothes=[10, 10, 11, 10, 20],
    tracklet=[5, 6, 5, 7, 8],
    platform=[0, 1, 1, 0, 1],
    row=[0, 1, 2, 3, 4],
)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("briar", [1, 1, 1, 1, 1]),
        ("market1501", [0, 1, 1, 1, 1]),
        ("pku_reid", [0, 1, 1, 0, 1]),
        ("ltcc_cloth_changing", [0, 0, 1, 1, 1]),
        ("prcc_same_clothes", [0, 1, 0, 1, 1]),
        ("g2a_vreid", [0, 1, 1, 0, 1]),
        ("mix", [0, 1, 0, 1, 1]),
    ],
)
def test_pairs_that_count(name, counts):
    np.testing.assert_array_equal(PROTOCOLS[name](QUERY, GALLERY), [np.array(counts, bool)])


def test_a_query_frame_without_a_tracklet_shares_none():
    query = columns(pid=[1], camid=[0], tracklet=[-1])
    gallery = columns(pid=[1, 2], camid=[1, 1], tracklet=[-1, -1])
    assert image_to_video(query, gallery).all()


def test_an_unknown_camera_is_nobodys_own_in_the_protocol_of_own_data():
    query = columns(pid=[1, 1], camid=[4, -1])
    gallery = columns(pid=[1, 1, 1, 2, 2], camid=[4, 5, -1, 4, -1])
    expected = [[False, True, True, True, True], [True] * 5]
    assert PROTOCOLS["people"](query, gallery).tolist() == expected
    assert PROTOCOLS["manifest"] is PROTOCOLS["people"]


def test_with_one_known_camera_or_none_same_camera_images_are_answers():
    features = np.eye(4)[[0, 0, 1, 1]]
    pids, unknown = [1, 1, 2, 2], [-1] * 4
    own = find_protocol("people")
    assert evaluate(features[::2], features[1::2], *[[1, 2]] * 2, *[[-1, -1]] * 2, protocol=own).mAP == 1
    with pytest.raises(ValueError, match="no valid query"):
        evaluate(features, features, pids, pids, unknown, unknown)


def test_a_manifest_file_has_the_protocol_of_manifests():
    assert find_protocol("/data/Mine.CSV") is PROTOCOLS["manifest"]
    with pytest.raises(ValueError, match="protocol=mine.txt: expected one of market1501, .*manifest"):
        find_protocol("mine.txt")


def people(seed=0, count=6, views=4):
    rng = np.random.default_rng(seed)
    pids = np.repeat(np.arange(count), views)
    features = rng.normal(size=(count, 8))[pids] + rng.normal(size=(len(pids), 8))
    return features, pids, np.tile(np.arange(views), count)


def test_single_shot_keeps_one_gallery_image_a_person_for_all_queries_and_no_junk():
    pids = [1, 1, 2, 2, -1, -1]
    query, gallery = columns(pid=[1, 2], row=[0, 1]), columns(pid=pids, row=range(6))
    masks = [single_shot(all_pairs, seed)(query, gallery).numpy() for seed in range(10)]
    assert all((mask[0] == mask[1]).all() and not mask[:, 4:].any() for mask in masks)
    assert all(mask[0, :2].sum() == mask[0, 2:4].sum() == 1 for mask in masks)
    assert len({mask.tobytes() for mask in masks}) > 1
    np.testing.assert_array_equal(masks[3], single_shot(all_pairs, 3)(query, gallery))


def test_single_gallery_shot_draws_for_each_query_among_what_counts_for_it():
    query = columns(pid=[1, 1, 2, 2], camid=[0, 0, 0, 0], row=[0, 1, 2, 3])
    gallery = columns(pid=[1, 1, 1, 2, 2, 3, 3], camid=[0, 1, 1, 0, 1, 0, 1], row=range(7))
    masks = [single_gallery_shot(cross_camera, seed)(query, gallery).numpy() for seed in range(10)]
    for mask in masks:
        assert not mask[:2, 0].any() and not mask[2:, 3].any()
        assert all(mask[:, gallery["pid"].numpy() == pid].sum(1).tolist() == [1] * 4 for pid in (1, 2, 3))
    assert any((mask[0] != mask[1]).any() for mask in masks)


def test_a_trial_does_not_depend_on_tiles(monkeypatch):
    features, pids, camids = people()
    protocol = single_gallery_shot(cross_camera, 1)
    whole = evaluate(features, features, pids, pids, camids, camids, protocol=protocol)
    monkeypatch.setattr("reid_eval.scores.TILE_PAIRS", {"cpu": 50})
    tiled = evaluate(features, features, pids, pids, camids, camids, protocol=protocol)
    np.testing.assert_array_equal(tiled.ap, whole.ap)
    assert whole.protocol == "cross_camera, single-gallery-shot 1"


def test_single_shot_average_precision_is_one_over_the_rank():
    features, pids, camids = people()
    rest = camids > 0
    asked, answers = (features[~rest], pids[~rest]), (features[rest], pids[rest])
    result = evaluate(asked[0], answers[0], asked[1], answers[1], protocol=single_shot(all_pairs, 0))
    np.testing.assert_allclose(result.ap, 1 / result.first_ranks)
    assert result.first_ranks.max() <= 6


def test_a_users_own_protocol_reads_text_columns():
    features = np.eye(2)
    result = evaluate(
        features,
        features,
        [1, 2],
        [1, 2],
        protocol=lambda query, gallery: query["view"][:, None] == gallery["view"],
        query_columns={"view": ["front", "back"]},
        gallery_columns={"view": np.array(["front", "front"], dtype=object)},
    )
    np.testing.assert_array_equal(result.valid_queries, [0])


def test_cloth_changing_and_same_clothes_split_the_right_answers():
    features, pids, camids = people()
    clothes = {"clothes": camids % 2}
    masks = {
        protocol.__name__: evaluate(
            features,
            features,
            pids,
            pids,
            camids,
            camids,
            protocol=protocol,
            query_columns=clothes,
            gallery_columns=clothes,
        )
        for protocol in (cross_camera, cloth_changing, same_clothes)
    }
    assert all(result.num_valid_queries == len(pids) for result in masks.values())
    assert masks["cloth_changing"].mAP != masks["same_clothes"].mAP


def test_a_missing_column_is_named():
    features, pids, camids = people()
    with pytest.raises(ValueError, match="the protocol needs the column 'clothes'.*query_columns"):
        evaluate(features, features, pids, pids, camids, camids, protocol=cloth_changing)
    with pytest.raises(ValueError, match="the protocol needs the column 'camid'"):
        evaluate(features, features, pids, pids)


def test_a_mask_that_is_none_is_refused():
    features, pids, camids = people()
    with pytest.raises(TypeError, match=r"must return a bool tensor \(24, 24\).*int64 of shape \(24, 1\)"):
        evaluate(features, features, pids, pids, protocol=lambda query, gallery: query["pid"][:, None].long())


def test_a_query_whose_only_answers_a_trial_did_not_draw_is_told_so():
    features, pids, camids = people()
    protocol = single_shot(cross_camera, 0)
    with pytest.warns(
        UserWarning, match=r"query 2 may be matched with none of its .* \(cross_camera, single-s"
    ) as caught:
        evaluate(features, features, pids, pids, camids, camids, protocol=protocol)
    assert "holds a feature" not in str(caught[0].message)


def test_average_gives_mean_and_spread_of_each_metric():
    features, pids, camids = people()
    results = [
        evaluate(features, features, pids, pids, camids, camids, protocol=single_shot(cross_camera, seed))
        for seed in range(3)
    ]
    spread = average(results)["mAP"]
    assert spread == pytest.approx((np.mean([r.mAP for r in results]), np.std([r.mAP for r in results])))
    with pytest.raises(ValueError, match="empty"):
        average([])
    with pytest.raises(ValueError, match=r"results\[1\] has the metrics"):
        average([results[0], evaluate(features, features, pids, pids, camids, camids, ranks=(3,))])


def test_templates_have_unit_rows_averaged_and_bad_rows_named():
    pooled, first = pool_templates(np.array([[3.0, 4.0], [0.0, 2.0]]), [1, 1])
    np.testing.assert_allclose(pooled, [[0.3, 0.9]])
    assert first.tolist() == [0]
    with pytest.raises(ValueError, match="row 1 is zero"):
        pool_templates(np.array([[3.0, 4.0], [0.0, 0.0]]), [1, 1])
    with pytest.raises(ValueError, match="template_ids has shape"):
        pool_templates(np.eye(2), [1])


def test_features_in_another_order_than_the_manifest_are_refused():
    check_order(["a", "b"], ["a", "b"], "query_features")
    with pytest.raises(
        ValueError, match=r"query_features: row 1 was made from 'c'.*'b' there \(2 such rows\)"
    ):
        check_order(["a", "c", "b"], ["a", "b", "c"], "query_features")
    with pytest.raises(ValueError, match="query_features has 1 rows but the manifest 2"):
        check_order(["a"], ["a", "b"], "query_features")


def test_a_query_may_stand_in_the_gallery_and_be_another_querys_only_match():
    """MARS: its gallery is all test tracklets, queries among them; both of person 2 are queries."""
    features = np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, 0.2], [0, 0, 1]])
    pids, camids = np.array([1, 2, 2, 1]), np.array([0, 0, 1, 1])
    query = np.array([0, 1, 2])
    result = evaluate(features[query], features, pids[query], pids, camids[query], camids)
    assert result.num_valid_queries == 3 and result.ap[1:].tolist() == [1.0, 1.0]
    lists = rank(features[query], features, pids[query], pids, camids[query], camids, k=1)
    assert lists.indices[1:, 0].tolist() == [2, 1]  # each other, never themselves


@pytest.mark.faults
@pytest.mark.parametrize("protocol", [all_pairs, lambda query, gallery: all_pairs(query, gallery)])
def test_without_a_camera_rule_the_item_keeps_a_query_from_meeting_itself(protocol):
    features, pids = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), [1, 1, 2]
    items = {"query_columns": {"item": ["a", "b"]}, "gallery_columns": {"item": ["a", "b", "c"]}}
    case = features[:2], features, pids[:2], pids
    alone = evaluate(*case, protocol=protocol, **items, far=(0.6,))
    np.testing.assert_array_equal(
        rank(*case, protocol=protocol, **items, k=3).indices, [[1, 2, -1], [0, 2, -1]]
    )
    assert alone.first_ranks.tolist() == [1, 1] and alone.score_histogram.genuine.sum() == 2
    assert alone.score_histogram.impostor.sum() == 2


@pytest.mark.parametrize("protocol", OWN_PERSON, ids=lambda protocol: protocol.__name__)
def test_asked_pair_by_pair_a_protocol_counts_what_its_mask_does(protocol):
    rng = np.random.default_rng(0)

    def side(count, lowest_pid):
        features, pids = rng.normal(size=(count, 4)), rng.integers(lowest_pid, 4, count)
        columns = {"camid": rng.integers(0, 3, count), "clothes": rng.integers(0, 2, count)}
        return features, pids, columns

    query, query_pids, query_columns = side(20, 0)
    gallery, gallery_pids, gallery_columns = side(60, -1)  # with junk
    pairwise, dense = (
        evaluate(
            query,
            gallery,
            query_pids,
            gallery_pids,
            query_columns=query_columns,
            gallery_columns=gallery_columns,
            protocol=way,
            far=(0.01, 0.1),
        )
        for way in (protocol, lambda query, gallery: protocol(query, gallery))
    )
    np.testing.assert_array_equal(pairwise.ap, dense.ap)
    assert pairwise.cmc == dense.cmc and pairwise.tar == dense.tar
