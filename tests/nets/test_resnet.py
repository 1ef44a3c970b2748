import torch
from torchvision.models import resnet50

from spacy_tcm.nets.resnet import RESNET50, ResNet, ResNetArch, bottleneck_arch


def test_loads_torchvision_weights_and_equals_it():
    torch.manual_seed(0)
    theirs = resnet50(weights=None).eval()
    ours = ResNet(RESNET50).eval()
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")}
    ours.load_state_dict(state, strict=True)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        y = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        y = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(y))))
        assert torch.allclose(ours(x), y, atol=1e-5)


def test_any_inner_widths():
    arch = ResNetArch(6, (((3, 5),), ((7, 2), (1, 9))), (10, 14))
    assert ResNetArch.from_dict(arch.to_dict()) == arch
    assert arch.stride == 8
    assert ResNet(arch)(torch.randn(2, 3, 32, 40)).shape == (2, 14, 4, 5)


def test_usual_shape():
    assert bottleneck_arch(8, (4, 8), (1, 2)).widths == (16, 32)
