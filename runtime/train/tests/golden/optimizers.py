"""Golden numbers for runtime/train: optimizers, schedules and a whole small run.

    python3 optimizers.py > optimizers.json

NumPy in double precision, by the formulas of PyTorch 2's documentation of torch.optim.SGD,
Adam, AdamW, of torch.optim.lr_scheduler.StepLR and CosineAnnealingLR, and of
torch.nn.utils.clip_grad_norm_. Nothing here is taken from our code.
"""

import json

import numpy as np


def sgd(parameters, gradients, rate, momentum=0.0, nesterov=False, weight_decay=0.0):
    buffer = None
    for gradient in gradients:
        gradient = gradient + weight_decay * parameters
        if momentum:
            buffer = gradient if buffer is None else momentum * buffer + gradient
            gradient = gradient + momentum * buffer if nesterov else buffer
        parameters = parameters - rate * gradient
    return parameters


def adam(parameters, gradients, rate, beta1, beta2, epsilon, weight_decay=0.0, decoupled=False):
    mean = np.zeros_like(parameters)
    square = np.zeros_like(parameters)
    for t, gradient in enumerate(gradients, start=1):
        if decoupled:
            parameters = parameters - rate * weight_decay * parameters
        else:
            gradient = gradient + weight_decay * parameters
        mean = beta1 * mean + (1 - beta1) * gradient
        square = beta2 * square + (1 - beta2) * gradient**2
        corrected_mean = mean / (1 - beta1**t)
        corrected_square = square / (1 - beta2**t)
        parameters = parameters - rate * corrected_mean / (np.sqrt(corrected_square) + epsilon)
    return parameters


def optimizers(random):
    start = random.normal(size=6)
    gradients = random.normal(size=(5, 6)) * np.array([1e-4, 1e-2, 1.0, 1.0, 10.0, 100.0])
    cases = [
        ({"name": "sgd"}, 0.1, lambda: sgd(start, gradients, 0.1)),
        (
            {"name": "sgd", "weight_decay": 0.01},
            0.05,
            lambda: sgd(start, gradients, 0.05, weight_decay=0.01),
        ),
        (
            {"name": "sgd", "momentum": 0.9, "weight_decay": 0.01},
            0.1,
            lambda: sgd(start, gradients, 0.1, momentum=0.9, weight_decay=0.01),
        ),
        (
            {"name": "sgd", "momentum": 0.8, "nesterov": True},
            0.1,
            lambda: sgd(start, gradients, 0.1, momentum=0.8, nesterov=True),
        ),
        ({"name": "adam"}, 0.01, lambda: adam(start, gradients, 0.01, 0.9, 0.999, 1e-8)),
        (
            {"name": "adam", "beta1": 0.8, "beta2": 0.99, "epsilon": 1e-3, "weight_decay": 0.1},
            0.02,
            lambda: adam(start, gradients, 0.02, 0.8, 0.99, 1e-3, weight_decay=0.1),
        ),
        (
            {"name": "adamw", "weight_decay": 0.1},
            0.02,
            lambda: adam(start, gradients, 0.02, 0.9, 0.999, 1e-8, 0.1, decoupled=True),
        ),
    ]
    return {
        "start": start.tolist(),
        "gradients": gradients.tolist(),
        "cases": [
            {"optimizer": optimizer, "learning_rate": rate, "end": run().tolist()}
            for optimizer, rate, run in cases
        ],
    }


def schedules():
    base, epochs, steps_per_epoch = 0.4, 6, 5
    steps = np.arange(epochs * steps_per_epoch)
    step = base * 0.5 ** (steps // steps_per_epoch // 2)
    cosine = 0.1 + 0.5 * (base - 0.1) * (1 + np.cos(np.pi * steps / len(steps)))
    warm = base * (steps + 1) / 7
    after = 0.5 * base * (1 + np.cos(np.pi * (steps - 7) / (len(steps) - 7)))
    return {
        "learning_rate": base,
        "epochs": epochs,
        "steps_per_epoch": steps_per_epoch,
        "cases": [
            {"schedule": {"name": "constant"}, "warmup_steps": 0, "rates": [base] * len(steps)},
            {
                "schedule": {"name": "step", "epochs": 2, "factor": 0.5},
                "warmup_steps": 0,
                "rates": step.tolist(),
            },
            {
                "schedule": {"name": "cosine", "minimum": 0.1},
                "warmup_steps": 0,
                "rates": cosine.tolist(),
            },
            {
                "schedule": {"name": "cosine"},
                "warmup_steps": 7,
                "rates": np.where(steps < 7, warm, after).tolist(),
            },
        ],
    }


def run(random):
    """A linear model learns from all samples at once, with clipped gradients and a warm-up."""
    inputs = random.normal(size=(12, 3))
    targets = inputs @ np.array([[1.0, -2.0], [0.5, 0.0], [3.0, 1.0]]) + np.array([0.3, -0.7])
    targets = targets + 0.1 * random.normal(size=targets.shape)
    weight, bias = 0.1 * random.normal(size=(2, 3)), np.zeros(2)
    start = np.concatenate([weight.ravel(), bias])
    losses, norms, history = [], [], []
    for step in range(8):
        difference = inputs @ weight.T + bias - targets
        losses.append(np.mean(difference**2))
        back = 2 * difference / difference.size
        gradient = np.concatenate([(back.T @ inputs).ravel(), back.sum(axis=0)])
        norm = np.linalg.norm(gradient)
        norms.append(norm)
        history.append(gradient * min(1.0, 1.5 / (norm + 1e-6)))
        rate = 0.2 * min(1.0, (step + 1) / 3)
        parameters = np.concatenate([weight.ravel(), bias])
        # The momentum of 0.9 over the clipped gradients so far.
        buffer = sum(0.9 ** (step - past) * old for past, old in enumerate(history))
        parameters = parameters - rate * buffer
        weight, bias = parameters[:6].reshape(2, 3), parameters[6:]
    return {
        "inputs": inputs.tolist(),
        "targets": targets.tolist(),
        "start": start.tolist(),
        "losses": losses,
        "norms": norms,
        "end": parameters.tolist(),
    }


if __name__ == "__main__":
    random = np.random.default_rng(20261126)
    golden = {"optimizers": optimizers(random), "schedules": schedules(), "run": run(random)}
    print(json.dumps(golden, indent=1))
