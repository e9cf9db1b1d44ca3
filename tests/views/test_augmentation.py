import pytest

from selfsight.views import Augmentation


def test_the_defaults_are_simclrs():
    """Chen et al. (ICML 2020), appendix A: crops, mirror images, jitter of strength 1, grey and blur, no more."""
    usual = Augmentation()
    assert usual.scale == (0.08, 1.0) and usual.ratio == (3 / 4, 4 / 3) and usual.flip == 0.5
    assert usual.jitter == (0.8, 0.8, 0.8, 0.2) and usual.jitter_p == 0.8 and usual.grayscale == 0.2
    assert usual.blur == 0.5 and usual.blur_sigma == (0.1, 2.0) and usual.crops == (2, 0)
    assert usual.rotate == usual.shift == usual.solarize == usual.noise == usual.cutout == 0


def test_a_pair_is_one_value_for_the_first_view_and_one_for_the_rest():
    augmentation = Augmentation(blur=(1.0, 0.1), solarize=(0.0, 0.2), flip=0.3)
    assert [augmentation.of_view(i).blur for i in range(3)] == [1.0, 0.1, 0.1]
    assert [augmentation.of_view(i).solarize for i in range(3)] == [0.0, 0.2, 0.2]
    assert augmentation.of_view(1).flip == 0.3


@pytest.mark.parametrize(
    "setting",
    [
        {"flip": 1.5},
        {"blur": (0.5, -0.1)},
        {"blur": (0.5, 0.1, 0.1)},
        {"scale": (0.0, 1.0)},
        {"scale": (0.5, 0.2)},
        {"local_scale": (0.1, 1.5)},
        {"ratio": (0.0, 1.0)},
        {"rotate": 200.0},
        {"shift": -0.1},
        {"jitter": (0.4, 0.4, 0.4)},
        {"jitter": (0.4, 0.4, 0.4, 0.6)},
        {"noise_sigma": (0.2, 0.1)},
        {"crops": (0, 6)},
        {"local_size": 0},
        {"local_size": 8.5},
        {"crops": (2.5, 0)},
        {"crops": 2},
        {"scale": 0.5},
        {"scale": (float("nan"), 1.0)},
        {"ratio": (0.5, float("inf"))},
        {"noise_sigma": 0.1},
        {"jitter": 0.5},
        {"jitter": (float("nan"), 0.4, 0.4, 0.1)},
        {"flip": "often"},
        {"flip": True},
        {"blur": float("nan")},
        {"rotate": "far"},
        {"shift": None},
        {"solarize_threshold": 128},
    ],
)
def test_a_wrong_value_is_named(setting):
    (name,) = setting
    with pytest.raises(ValueError, match=f"^{name} is "):
        Augmentation(**setting)
