"""Networks that are known by a name: layer lists made from the shape of the input."""

from __future__ import annotations

from math import isqrt

from mr_gradient.errors import UsageError
from mr_gradient.models.network import Network


def mlp(features: int, outputs: int = 1, hidden: tuple[int, ...] = (64,),
        loss: str = "softmax") -> Network:
    """Dense layers with relu between them."""
    layers = [layer for size in hidden for layer in ({"dense": size}, "relu")]
    return Network(features, outputs, (*layers, {"dense": outputs}), loss)


def lenet(features: int, outputs: int, loss: str = "softmax",
          input_shape: tuple[int, ...] = ()) -> Network:
    """LeNet-5 (LeCun et al. 1998, figure 2) with relu and max pooling, each map from all maps.

    ``input_shape`` (channels, height, width): found out for square images of one channel.
    """
    shape = _images("lenet", features, input_shape)
    layers = [{"conv2d": {"out": 6, "kernel": 5, "padding": 2}}, "relu", {"max_pool2d": 2},
              {"conv2d": {"out": 16, "kernel": 5}}, "relu", {"max_pool2d": 2},
              "flatten", {"dense": 120}, "relu", {"dense": 84}, "relu", {"dense": outputs}]
    return Network(features, outputs, tuple(layers), loss, shape)


def alexnet_small(features: int, outputs: int, loss: str = "softmax",
                  input_shape: tuple[int, ...] = ()) -> Network:
    """AlexNet (Krizhevsky et al. 2012, figure 2) for images of about 32 x 32.

    Five convolutions, as wide as those on one of its two devices, all with kernels of 3 x 3;
    overlapping pooling; two dense layers of 1,024 with dropout.
    """
    shape = _images("alexnet-small", features, input_shape)

    def convolution(out: int) -> list:
        return [{"conv2d": {"out": out, "kernel": 3, "padding": 1}}, "relu"]

    pool = {"max_pool2d": {"kernel": 3, "stride": 2}}
    dense = [{"dropout": 0.5}, {"dense": 1024}, "relu"]
    layers = [*convolution(48), pool, *convolution(128), pool, *convolution(192), *convolution(192),
              *convolution(128), pool, "flatten", *dense, *dense, {"dense": outputs}]
    return Network(features, outputs, tuple(layers), loss, shape)


def _images(name: str, features: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that was given, or that of square images of one channel."""
    if shape:
        return tuple(shape)
    side = isqrt(features)
    if side * side != features:
        raise UsageError(f"--model {name}: needs images, and {features} features are no square of one "
                         "channel; give input_shape: channels, height, width")
    return (1, side, side)
