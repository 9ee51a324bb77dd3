"""A short run of every kernel for ``compute-sanitizer --tool memcheck python tests/gpu/memcheck.py``.

Run it with ``PYTORCH_NO_CUDA_MEMORY_CACHING=1``: each tensor is an allocation of its own, so that a read beyond its end
is seen.
"""

from __future__ import annotations

import torch

import poolwise as pw

PROBLEMS = (
    ("max", (3, 5, 13, 11), {"window": (3, 3), "stride": 2, "padding": 1}),
    ("max", (3, 5, 13, 11), {"window": (3, 3), "stride": 1, "padding": 1}),
    ("avg", (3, 5, 13, 11), {"window": (2, 2)}),
    ("avg", (3, 5, 13, 11), {"window": (3, 3), "stride": 2, "padding": 1, "dilation": 2}),
    ("lp", (3, 5, 13, 11), {"window": (3, 2), "stride": 2, "padding": (1, 0)}),
    ("max", (2, 3, 41, 37), {"window": (9, 7), "stride": (2, 1), "padding": 3}),
    ("avg", (2, 3, 41, 37), {"window": (41, 37)}),
    ("max", (2, 3, 41, 37), {"window": (41, 37)}),
    ("max", (2, 3, 5, 7, 9), {"window": (2, 2, 2)}),
)


def main() -> None:
    for op, shape, options in PROBLEMS:
        for last in (False, True):
            x = torch.randn(shape, device="cuda")
            if last:
                x = x.contiguous(memory_format=torch.channels_last if x.ndim == 4 else torch.channels_last_3d)
            x.requires_grad_()
            y = pw.pool(x, op, backend="triton", **options)
            y.backward(torch.randn_like(y))
    x = torch.randn(2, 3, 28, 27, device="cuda", requires_grad=True)
    for op in ("max", "avg"):
        pw.adaptive_pool(x, op, (5, 4), axes=(2, 3), backend="triton").sum().backward()
    pw.max_pool_with_indices(x, (3, 3), stride=2)
    torch.cuda.synchronize()
    print("memcheck run done")


if __name__ == "__main__":
    main()
