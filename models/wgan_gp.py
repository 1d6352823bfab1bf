"""A generator and a critic whose difference of verdicts measures how far the two distributions of images are apart."""

from __future__ import annotations

import keras

from models import dcgan


def build(image_shape: tuple[int, int, int], *, latent: int = 32, filters: int = 32, depth: int = 2) -> keras.Model:
    """As dcgan, without batch normalisation: the gradient penalty is on each row's gradient, and rows must not see each other.

    Trained with loss: wasserstein, which is its default.

    Args:
        image_shape: (height H, width W, channels C); H and W must be multiples of 2**depth.
        latent: width Z of the noise.
        filters: filters F of the layer next to the image; each further one has twice as many.
        depth: doublings of the image in the generator, halvings in the critic.

    Raises:
        ValueError: an image that cannot be halved so often.

    Source: Gulrajani et al. 2017, arXiv:1704.00028, section 4.
    """
    both = dcgan.build(image_shape, latent=latent, filters=filters, depth=depth, norm=False)
    return keras.Model(both.input, both.output, name="wgan_gp")
