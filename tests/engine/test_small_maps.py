"""bf16 on CPUs: convolutions on maps smaller than their reach compute in float32."""

import copy

import pytest
import torch
from torch import nn

from selfsight.engine.small_maps import guard_small_maps, reaches_beyond
from selfsight.nets import build_encoder


@pytest.mark.parametrize(
    ("convolution", "size", "beyond"),
    [
        (nn.Conv2d(1, 1, 3, stride=2, padding=1), 1, True),
        (nn.Conv2d(1, 1, 3, stride=2, padding=1), 2, True),  # its first row never meets a pixel
        (nn.Conv2d(1, 1, 3, stride=2, padding=1), 3, False),
        (nn.Conv2d(1, 1, 3, stride=4, padding=1), 3, True),
        (nn.Conv2d(1, 1, 3, padding=1), 1, True),
        (nn.Conv2d(1, 1, 3, padding="same"), 3, False),
        (nn.Conv2d(1, 1, 5, stride=2, padding=2), 4, True),
        (nn.Conv2d(1, 1, 3, dilation=2, padding=2), 4, True),
        (nn.Conv2d(1, 1, 3, dilation=2, padding=2), 5, False),
        (nn.Conv2d(1, 1, 7, stride=2, padding=3), 224, False),
    ],
)
def test_which_convolutions_reach_beyond_their_map(convolution, size, beyond):
    assert reaches_beyond(convolution, (size, size)) == beyond
    assert reaches_beyond(convolution, (size, 300)) == beyond


def gradients(encoder, x, dtype):
    encoder.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        encoder(x).float().square().mean().backward()
    return {name: parameter.grad.clone() for name, parameter in encoder.named_parameters()}


@pytest.mark.parametrize(
    ("name", "size", "guarded"),
    [("resnet_slim", 8, "layer4.0.conv1"), ("mobilenetv3_small_050", 12, "blocks.4.0.conv_dw")],
)
def test_gradients_in_bf16_are_those_of_float32(name, size, guarded, caplog):
    torch.manual_seed(0)
    encoder = build_encoder(name, image_size=size).train()
    x = torch.randn(16, 3, size, size)
    exact = gradients(encoder, x, torch.float32)
    guard_small_maps(encoder)
    seen = []
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda conv, args, out: seen.append((conv, args[0].shape[2:], out.dtype)))
    with caplog.at_level("INFO"):
        rounded = gradients(encoder, x, torch.bfloat16)
    assert guarded in caplog.text and "computes in float32" in caplog.text
    for conv, shape, dtype in seen:
        small = max(conv.kernel_size) > 1 and reaches_beyond(conv, tuple(shape))
        assert dtype == (torch.float32 if small else torch.bfloat16)
    assert any(dtype == torch.float32 for *_, dtype in seen)
    for parameter, gradient in rounded.items():
        assert gradient.isfinite().all(), parameter
        # batch norm over single pixels spreads rounding far; what lay in memory would be beyond all measure
        assert (gradient - exact[parameter]).norm() <= 2 * exact[parameter].norm() + 1e-2, parameter
        if gradient.ndim == 4 and gradient.shape[-1] > 1:
            never_met = exact[parameter] == 0
            assert (gradient[never_met] == 0).all(), parameter


def test_copies_have_their_own_weights_and_full_precision_is_left_alone():
    conv = nn.Conv2d(2, 2, 3, stride=2, padding=1)
    guard_small_maps(conv)
    x = torch.randn(4, 2, 1, 1)
    other = copy.deepcopy(conv)
    nn.init.zeros_(other.weight)
    nn.init.zeros_(other.bias)
    assert (other(x) == 0).all() and (conv(x) != 0).any() and conv(x).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(RuntimeError):
            conv(torch.randn(4, 3, 1, 1))
        assert torch.is_autocast_enabled("cpu")  # what fails leaves it on
        assert conv(x).dtype == torch.float32
