"""The networks of srcx: generators from lq to sr, discriminators from images to logits."""

from srcx.archs.compact import SRVGGNetCompact
from srcx.archs.feature_discriminator import FeatureDiscriminator
from srcx.archs.msrresnet import MSRResNet
from srcx.archs.patch_discriminator import PatchDiscriminator
from srcx.archs.srgan_discriminator import SRGANDiscriminator
from srcx.archs.srresnet import SRResNet
from srcx.archs.unet_discriminator import UNetDiscriminatorSN
from srcx.archs.vgg_style_discriminator import VGGStyleDiscriminator

__all__ = [
    "FeatureDiscriminator",
    "MSRResNet",
    "PatchDiscriminator",
    "SRGANDiscriminator",
    "SRResNet",
    "SRVGGNetCompact",
    "UNetDiscriminatorSN",
    "VGGStyleDiscriminator",
]
