"""The demo's findings on the terminal."""

from __future__ import annotations

from typing import Any

__all__ = ["WHAT_A_SHIFT_IS", "WHAT_COLUMNS_ARE", "measures", "rows", "saved", "show"]

WHAT_COLUMNS_ARE = (
    "Reduction: input pixels from one output to the next. Sees: the receptive field, the input pixels that one output "
    "depends on, border padding counted. Multiply-adds: of convolutions and the linear layer. Pooling ops: window "
    "elements that are compared or added. Normalisation and activation layers change no shape and are left out."
)
WHAT_A_SHIFT_IS = (
    "Share of test images whose predicted class stays the same when the image moves by that many pixels: mean over "
    "eight directions (left, right, up, down, diagonals), black where nothing moves in. Right or wrong does not matter "
    "here, only whether the answer stays."
)
WIDTH_OFF_TERMINAL = 110


def _times(pair: Any) -> str:
    """``[7, 7]`` as 7 x 7."""
    return "whole image" if pair is None else " x ".join(map(str, pair))


def rows(net: dict[str, Any]) -> list[dict[str, str]]:
    """The layers that compute or reduce, as text; norm and activation change no shape and are left out."""
    found = []
    for layer in net["layers"]:
        if layer["kind"] in ("BatchNorm2d", "ReLU", "Flatten"):
            continue
        found.append(
            {
                "name": layer["name"],
                "shape": _times(layer["output"][1:]),
                "reduction": f"{_times(layer['reduction'])}" if layer["reduction"] else "-",
                "field": _times(layer["receptive_field"] if layer["reduction"] else None),
                "multiply_adds": f"{layer['multiply_adds']:,}" if layer["multiply_adds"] else "-",
                "pool_operations": f"{layer['pool_operations']:,}" if layer["pool_operations"] else "-",
            }
        )
    return found


def measures(net: dict[str, Any]) -> dict[str, str]:
    """One net's results as text."""
    one, two = net["unchanged_by_shift"]["1"], net["unchanged_by_shift"]["2"]
    return {
        "title": net["title"],
        "multiply_adds": f"{net['multiply_adds']:,}",
        "test": f"{100 * net['test_accuracy']:.1f} %",
        "gap": f"{100 * net['gap']:+.1f} points",
        "one": f"{100 * one:.1f} %",
        "two": f"{100 * two:.1f} %",
    }


def saved(net: dict[str, Any]) -> str:
    """What the pooling strides saved."""
    without, with_ = net["multiply_adds_at_stride_1"], net["multiply_adds"]
    return (
        f"One image costs this net {with_:,} multiply-adds; with every pooling stride set to 1 and the same layers "
        f"it would cost {without:,}: {without / with_:.1f} times as many."
    )


def show(facts: dict[str, Any]) -> None:
    """Print tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=False)
    if not console.is_terminal:
        console = Console(width=WIDTH_OFF_TERMINAL)
    settings, images = facts["settings"], facts["data"]
    console.print(f"Data: {images['source']}.", highlight=False)
    console.print(f"Split: {images['split']}.", highlight=False)
    console.print(
        f"Used: {settings['train_images']:,} to train on, {settings['test_images']:,} to test on; "
        f"{settings['epochs']} epochs in batches of {settings['batch']}, seed {settings['seed']}.\n", highlight=False,
    )  # fmt: skip
    net = facts["nets"][0]
    table = Table(title=f"Layer by layer: {net['title']}", title_justify="left")
    heads = ("layer", "output", "reduction", "sees", "multiply-adds", "pooling ops")
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number > 3 else "left", no_wrap=True)
    for row in rows(net):
        table.add_row(*row.values())
    console.print(table)
    console.print(f"output: maps x height x width, of one image. {WHAT_COLUMNS_ARE}", highlight=False)
    console.print(saved(net) + "\n", highlight=False)
    table = Table(
        title=f"Three nets with the same {net['parameters']:,} parameters, one seed each", title_justify="left"
    )
    heads = ("net", "multiply-adds", "test", "train - test", "same, 1 px", "same, 2 px")
    for number, head in enumerate(heads):
        table.add_column(head, justify="right" if number else "left", no_wrap=True)
    for each in facts["nets"]:
        table.add_row(*measures(each).values())
    console.print(table)
    console.print("test, train: share of images classified right.", highlight=False)
    console.print(f"same, 1 px and 2 px: {WHAT_A_SHIFT_IS}", highlight=False)
    console.print("One seed says nothing about which net is better in general.\n", highlight=False)
    console.print(f"{facts['seconds']:.0f} s. Pictures and this page:", highlight=False)
    for file in facts["files"]:
        console.print(f"  {file}", highlight=False)
