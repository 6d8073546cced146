"""The default layer of each architecture, dissected where none is named.

By the rule of every entry of :data:`FAMILIES`: the last maps on which position still means
something, before they are pooled into features. A layer so chosen has as many cells as the
network has at that depth (so AlexNet's and VGG's last ReLU, not the pooling behind it), and the
network's answer depends on it (so not the last block of a transformer that reads its class token
alone: what that block leaves on the other tokens goes nowhere).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import nn


class Family(NamedTuple):
    """One architecture as one package builds it.

    package, kind : where its class is from, and the class's name.
    layer : rule for the default layer: a dotted name; ``name:-1`` its last child, ``name:-2`` the
        last but one, ``name:ReLU`` the last child of that kind.
    toggled : how its units are disabled: ``closed form``, ``replayed tail`` or ``whole forward``
        (:mod:`core.ablation.strategies` decides that by numbers for each run; this is what it
        decides for the architecture as published, and the tests hold it to that).
    networks : what to call them.
    """

    package: str
    kind: str
    layer: str
    toggled: str
    networks: str


FAMILIES = (
    Family("torchvision", "AlexNet", "features:ReLU", "replayed tail", "AlexNet"),
    Family("torchvision", "VGG", "features:ReLU", "replayed tail", "VGG"),
    Family("torchvision", "SqueezeNet", "features", "replayed tail", "SqueezeNet"),
    Family("torchvision", "ResNet", "layer4", "closed form", "ResNet, ResNeXt, Wide ResNet"),
    Family("torchvision", "DenseNet", "features", "replayed tail", "DenseNet"),
    Family("torchvision", "GoogLeNet", "inception5b", "closed form", "GoogLeNet"),
    Family("torchvision", "Inception3", "Mixed_7c", "closed form", "Inception v3"),
    Family("torchvision", "MobileNetV2", "features", "closed form", "MobileNetV2"),
    Family("torchvision", "MobileNetV3", "features", "replayed tail", "MobileNetV3"),
    Family("torchvision", "ShuffleNetV2", "conv5", "closed form", "ShuffleNetV2"),
    Family("torchvision", "MNASNet", "layers", "closed form", "MNASNet"),
    Family("torchvision", "EfficientNet", "features", "closed form", "EfficientNet, V2"),
    Family("torchvision", "RegNet", "trunk_output", "closed form", "RegNet"),
    Family("torchvision", "ConvNeXt", "features", "replayed tail", "ConvNeXt"),
    Family("torchvision", "SwinTransformer", "norm", "closed form", "Swin, V2"),
    Family("torchvision", "MaxVit", "blocks:-1", "replayed tail", "MaxViT"),
    Family("torchvision", "VisionTransformer", "encoder.layers:-2", "replayed tail", "ViT"),
    Family("timm", "ResNet", "layer4", "closed form", "ResNet and its kin"),
    Family("timm", "DenseNet", "features", "closed form", "DenseNet"),
    Family("timm", "EfficientNet", "bn2", "closed form", "EfficientNet, MobileNetV2, MNASNet"),
    Family("timm", "MobileNetV3", "blocks", "replayed tail", "MobileNetV3"),
    Family("timm", "RegNet", "s4", "closed form", "RegNet"),
    Family("timm", "ConvNeXt", "stages", "replayed tail", "ConvNeXt, V2"),
    Family("timm", "SwinTransformer", "norm", "closed form", "Swin"),
    Family("timm", "SwinTransformerV2", "norm", "closed form", "Swin V2"),
    Family("timm", "VGG", "features:ReLU", "replayed tail", "VGG"),
    Family("timm", "VisionTransformer", "blocks:-2", "replayed tail", "ViT, DeiT, CLIP's"),
    Family("timm", "Eva", "blocks:-2", "replayed tail", "EVA, DINOv3's"),
)
"""Every other network of timm: the last of the stages that timm lists itself. Any other network:
:func:`default_layer`."""


def family_of(module: nn.Module) -> Family | None:
    """The entry of a network, by its class and the package that it is from; None where none is.

    >>> from torchvision.models import alexnet
    >>> family_of(alexnet()).networks
    'AlexNet'
    """
    for kind in type(module).__mro__:
        for family in FAMILIES:
            if kind.__name__ == family.kind and kind.__module__.startswith(family.package + "."):
                return family
    return None


def default_layer(module: nn.Module) -> str:
    """Dotted name of the layer that is dissected where none is named.

    Of :data:`FAMILIES`; else the last stage that the network lists itself (timm's
    ``feature_info``); else the usual names of a last stage; else the last convolution.
    """
    names = dict(module.named_modules())
    family = family_of(module)
    if family is not None:
        rule = family.layer
        if rule == "blocks:-2" and getattr(module, "global_pool", "token") != "token":
            rule = "blocks:-1"  # read by their mean or an attention over them, all tokens count
        found = _by_rule(names, rule)
        if found:
            return found
    listed = getattr(module, "feature_info", None)
    stages = [entry.get("module") for entry in listed] if isinstance(listed, list) else []
    for stage in reversed(stages):
        if stage in names:
            return str(stage)
    for rule in ("layer4", "features", "encoder.layers:-1", "stages:-1", "stages", "blocks:-1"):
        found = _by_rule(names, rule)
        if found:
            return found
    convolutions = [n for n, m in names.items() if isinstance(m, nn.Conv2d)]
    value: str = convolutions[-1] if convolutions else next(n for n in names if n)
    return value


def _by_rule(names: dict[str, nn.Module], rule: str) -> str:
    """The layer that a rule names; "" if the network has none."""
    name, _, which = rule.partition(":")
    if name not in names or not which:
        return name if name in names and not isinstance(names[name], nn.ModuleList) else ""
    children = dict(names[name].named_children())
    if which.lstrip("-").isdigit():
        # encoder_layer_3 as well as 3, in the order in which they run.
        listed = list(children)
    else:
        listed, which = [c for c, m in children.items() if type(m).__name__ == which], "-1"
    return f"{name}.{listed[int(which)]}" if len(listed) >= -int(which) else ""
