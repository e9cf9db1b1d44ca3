import pytest
import torch

from selfsight.nets import PatchDecoder, attend_by_products, build_encoder, has_few_tokens


def test_it_computes_the_same():
    torch.manual_seed(0)
    encoder = build_encoder("vit_small_image", image_size=16)
    x, keep = torch.randn(3, 3, 16, 16), torch.tensor([[0, 3, 5], [1, 2, 9], [4, 7, 15]])
    decoder = PatchDecoder(encoder.width, encoder.grid(), encoder.patch, dim=32, depth=1, heads=2)
    fused = encoder(x), decoder(encoder.tokens(x, keep), keep)
    gradient = torch.autograd.grad(fused[0].square().sum(), encoder.model.patch_embed.proj.weight)[0]
    for module in (encoder, decoder):
        attend_by_products(module)
        assert not any(getattr(part, "fused_attn", False) for part in module.modules())
    plain = encoder(x), decoder(encoder.tokens(x, keep), keep)
    for ours, torchs in zip(plain, fused, strict=True):
        torch.testing.assert_close(ours, torchs, rtol=1e-5, atol=1e-5)
    again = torch.autograd.grad(plain[0].square().sum(), encoder.model.patch_embed.proj.weight)[0]
    torch.testing.assert_close(again, gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "size", "few"), [("vit_small_image", 64, True), ("vit_small_image", 96, False)])
def test_few_tokens(name, size, few):
    assert has_few_tokens(build_encoder(name, image_size=size)) == few


def test_a_resnet_has_no_tokens():
    assert not has_few_tokens(build_encoder("resnet_slim", image_size=32))
