"""Computes the numbers that golden.rs expects, in double precision with NumPy alone.

Parameters are 0.3 sin(0.37 i) and inputs cos(0.11 i) over flat indices, targets sin(0.05 i);
gradients of the mean square are central differences.   python golden.py > golden.json
"""

import json

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Flat:
    """Takes tensors from a flat array in order."""

    def __init__(self, values):
        self.values, self.at = values, 0

    def take(self, *shape):
        count = int(np.prod(shape))
        part = self.values[self.at : self.at + count]
        self.at += count
        return part.reshape(shape)


def mlp(flat, x, widths):
    x = x.reshape(x.shape[0], -1)
    for index, (a, b) in enumerate(zip(widths, widths[1:])):
        x = x @ flat.take(b, a).T + flat.take(b)
        if index < len(widths) - 2:
            x = np.tanh(x)
    return x


def lstm(flat, x, hidden, layers, outputs):
    for _ in range(layers):
        w_ih = flat.take(4 * hidden, x.shape[2])
        w_hh = flat.take(4 * hidden, hidden)
        bias = flat.take(4 * hidden)
        h = c = np.zeros((x.shape[0], hidden))
        out = []
        for step in range(x.shape[1]):
            i, f, g, o = np.split(x[:, step] @ w_ih.T + h @ w_hh.T + bias, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            out.append(h)
        x = np.stack(out, axis=1)
    return x[:, -1] @ flat.take(outputs, hidden).T + flat.take(outputs)


def conv(flat, x, outputs, kernel, globe, stride=1):
    w = flat.take(outputs, x.shape[1], kernel, kernel)
    b = flat.take(outputs)
    r = kernel // 2
    x = np.pad(x, ((0, 0), (0, 0), (r, r), (0, 0)))
    x = np.pad(x, ((0, 0), (0, 0), (0, 0), (r, r)), mode="wrap" if globe else "constant")
    h, wd = x.shape[2] - 2 * r, x.shape[3] - 2 * r
    out = np.zeros((x.shape[0], outputs, h, wd))
    for dy in range(kernel):
        for dx in range(kernel):
            out += np.einsum("ncyx,oc->noyx", x[:, :, dy : dy + h, dx : dx + wd], w[:, :, dy, dx])
    return (out + b[None, :, None, None])[:, :, ::stride, ::stride]


def unet(flat, x, outputs, width, depth, globe):
    height, wide = x.shape[2:]
    step = 2**depth
    x = np.pad(x, ((0, 0), (0, 0), (0, -height % step), (0, -wide % step)), mode="edge")

    def pair(x, channels):
        for _ in range(2):
            x = np.tanh(conv(flat, x, channels, 3, globe))
        return x

    seen = []
    for level in range(depth):
        x = pair(x, width << level)
        seen.append(x)
        n, c, h, w = x.shape
        x = x.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))
    x = pair(x, width << depth)
    for level in reversed(range(depth)):
        w = flat.take(x.shape[1], width << level, 2, 2)
        b = flat.take(width << level)
        n, _, h, wd = x.shape
        up = np.einsum("ncyx,coab->noyaxb", x, w).reshape(n, -1, 2 * h, 2 * wd)
        x = pair(np.concatenate([seen.pop(), up + b[None, :, None, None]], axis=1), width << level)
    return conv(flat, x, outputs, 1, globe)[:, :, :height, :wide]


def resnet(flat, x, outputs, width, blocks, globe):
    x = np.tanh(conv(flat, x, width, 3, globe))
    for _ in range(blocks):
        x = x + conv(flat, np.tanh(conv(flat, x, width, 3, globe)), width, 3, globe)
    return conv(flat, x, outputs, 1, globe)


def case(forward, input_shape):
    x = np.cos(0.11 * np.arange(np.prod(input_shape))).reshape(input_shape)
    probe = Flat(np.zeros(100_000))
    forward(probe, x)
    count = probe.at
    values = 0.3 * np.sin(0.37 * np.arange(count))
    output = forward(Flat(values), x)
    targets = np.sin(0.05 * np.arange(output.size)).reshape(output.shape)

    def loss(values):
        return np.mean((forward(Flat(values), x) - targets) ** 2)

    gradient = []
    for index in range(0, count, max(1, count // 60)):
        step = np.zeros(count)
        step[index] = 1e-6
        gradient.append([index, (loss(values + step) - loss(values - step)) / 2e-6])
    return {
        "parameters": count,
        "shape": list(output.shape),
        "output": output.ravel().tolist()[:64],
        "loss": loss(values),
        "gradient": gradient,
    }


print(json.dumps({
    "mlp": case(lambda f, x: mlp(f, x, [6, 7, 5, 2]), (4, 2, 3)),
    "lstm": case(lambda f, x: lstm(f, x, 4, 2, 3), (2, 5, 3)),
    "unet": case(lambda f, x: unet(f, x, 2, 3, 2, True), (2, 3, 6, 9)),
    "resnet": case(lambda f, x: resnet(f, x, 2, 4, 2, False), (2, 3, 5, 6)),
}, indent=0))
