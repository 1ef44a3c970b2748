import torch

from spacy_tcm.nets.segment import SegmentArch, SegmentNet


def test_one_score_per_pixel_of_any_size():
    arch = SegmentArch(widths=(12, 10, 8))
    assert SegmentArch.from_dict(arch.to_dict()) == arch
    net = SegmentNet(arch).eval()
    pixels = torch.randint(0, 256, (2, 48, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        both = net(pixels)
        assert both.shape == (2, 48, 32)
        torch.testing.assert_close(net(pixels[1:]), both[1:])
