import numpy as np

from keras_inat.data.dataset import split_validation


def hashes(count, start=0):
    return [f"image {index}" for index in range(start, start + count)]


def test_stratified_disjoint_and_complete():
    labels = np.repeat([0, 1, 2], [50, 20, 5])
    train, validation = split_validation(labels, hashes(75), 0.2, seed=0)
    assert np.bincount(labels[validation]).tolist() == [10, 4, 1]
    assert sorted([*train, *validation]) == list(range(75))


def test_the_split_depends_on_content_not_on_order():
    labels = np.repeat([0, 1], 40)
    names = hashes(80)
    _, validation = split_validation(labels, names, 0.25, seed=3)
    order = np.random.default_rng(0).permutation(80)
    _, shuffled = split_validation(labels[order], [names[i] for i in order], 0.25, seed=3)
    assert {names[i] for i in validation} == {names[order[i]] for i in shuffled}
    _, other = split_validation(labels, names, 0.25, seed=4)
    assert set(other) != set(validation)


def test_adding_images_changes_the_side_of_few():
    labels = np.zeros(100, int)
    _, before = split_validation(labels, hashes(100), 0.2, seed=0)
    _, after = split_validation(np.zeros(110, int), hashes(110), 0.2, seed=0)
    assert len(set(before) - set(after)) <= 4


def test_duplicates_stay_on_one_side_even_across_labels():
    names = hashes(40) + hashes(40)  # every image twice, under two labels
    labels = np.repeat([0, 1], 40)
    train, validation = split_validation(labels, names, 0.3, seed=0)
    assert not {names[i] for i in train} & {names[i] for i in validation}
    assert len(validation) >= 2


def test_every_class_keeps_an_image_for_training():
    train, validation = split_validation(np.array([0, 0, 1, 1]), hashes(4), 0.89, seed=0)
    assert len(train) == len(validation) == 2


def test_a_large_group_of_duplicates_does_not_exceed_the_fraction():
    labels = np.zeros(100, int)
    names = hashes(40) + ["burst"] * 60
    for seed in range(20):
        _, validation = split_validation(labels, names, 0.2, seed)
        assert len(validation) == 20
    # If all groups are too large, the smallest is held out.
    _, validation = split_validation(np.zeros(30, int), ["a"] * 12 + ["b"] * 8 + ["c"] * 10, 0.2, 0)
    assert validation.tolist() == list(range(12, 20))
