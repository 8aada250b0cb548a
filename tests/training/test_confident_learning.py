import numpy as np

from keras_inat.training.confident_learning import estimate_joint, find_label_suspects


def test_the_joint_of_a_small_table_by_hand():
    labels = np.array([0, 0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.1, 0.9]])
    # The thresholds are the means 0.6 and 0.8. The image with 0.7 has no class above its threshold.
    np.testing.assert_allclose(estimate_joint(labels, probabilities), [[2, 1], [0, 2]])


def test_rows_of_the_joint_are_calibrated_to_the_labels():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), [40, 10, 25, 3])
    joint = estimate_joint(labels, rng.dirichlet(np.ones(4), len(labels)))
    np.testing.assert_allclose(joint.sum(axis=1), [40, 10, 25, 3])
    assert (joint >= 0).all()


def test_the_most_probable_of_several_confident_classes_counts():
    labels = np.array([0, 0, 1, 1, 0])
    probabilities = np.array([[0.6, 0.4], [0.2, 0.8], [0.6, 0.4], [0.4, 0.6], [0.45, 0.55]])
    # The thresholds are 0.417 and 0.5: the last image is confident for both classes.
    np.testing.assert_allclose(estimate_joint(labels, probabilities), [[1, 2], [1, 1]])


def test_a_class_whose_images_all_look_like_another_one_keeps_an_image():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.9, 0.1], [0.5, 0.5], [0.7, 0.3], [0.8, 0.2]])
    np.testing.assert_allclose(estimate_joint(labels, probabilities), [[1, 1], [4 / 3, 2 / 3]])
    assert find_label_suspects(labels, probabilities).tolist() == [3]


def test_suspects_are_sorted_by_their_margin():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    toward_one = np.array([0.05, 0.1, 0.95, 0.85, 0.9, 0.95, 0.9, 0.02])
    probabilities = np.column_stack([1 - toward_one, toward_one])
    assert find_label_suspects(labels, probabilities).tolist() == [7, 2, 3]


def test_an_image_whose_label_is_the_most_probable_is_no_suspect():
    labels = np.array([0, 0, 1, 1, 1])
    toward_one = np.array([0.1, 0.2, 0.05, 0.51, 0.99])
    probabilities = np.column_stack([1 - toward_one, toward_one])
    # Calibrated, the third image counts as one and a half, because the fourth does not count.
    np.testing.assert_allclose(estimate_joint(labels, probabilities), [[2, 0], [1.5, 1.5]])
    assert find_label_suspects(labels, probabilities).tolist() == [2]


def test_random_predictions_of_many_classes_leave_every_class_an_image():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 12, 400)
    suspects = find_label_suspects(labels, rng.dirichlet(np.ones(12), 400))
    kept = np.setdiff1d(np.arange(400), suspects)
    assert set(labels[kept]) == set(range(12))
    assert len(set(suspects.tolist())) == len(suspects)
