"""What is known of tensors while a network runs, by the memory they lie in: views share it, and writes change it for all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from .reach import NOTHING, Axis, Reach, compact

__all__ = ["Alive", "Memory"]

Tensor = torch.Tensor
Place = tuple[int, tuple[int, ...], tuple[int, ...]]


def _place(tensor: Tensor) -> Place:
    return tensor.storage_offset(), tuple(tensor.shape), tuple(tensor.stride())


def _elements(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes() // tensor.element_size()


def _whole(tensor: Tensor) -> bool:
    """True where the tensor is all of its memory, each element once."""
    return tensor.numel() == _elements(tensor) and torch._debug_has_internal_overlap(tensor) == 0


class Memory:
    """Reaches of the tensors that are alive. What was never recorded is a constant."""

    def __init__(self) -> None:
        # A weak reference keeps the address from being used again, so that it can be a key.
        self._known: dict[int, tuple[StorageWeakRef, dict[Place, Reach]]] = {}

    def read(self, tensor: Tensor) -> Reach | None:
        """The reach of a tensor; `None` for constants."""
        found = self._known.get(tensor.untyped_storage()._cdata)
        if found is None:
            return None
        place = _place(tensor)
        if place not in found[1]:
            found[1][place] = self._seen_through(tensor, found[1])
        return found[1][place]

    def record(self, tensor: Tensor, reach: Reach | None) -> None:
        """A result: new memory, or a view of some that is known already."""
        storage = tensor.untyped_storage()
        if storage._cdata in self._known:
            if reach is not None:
                self._known[storage._cdata][1][_place(tensor)] = reach
        elif reach is not None:
            self._known[storage._cdata] = (StorageWeakRef(storage), {_place(tensor): reach})

    def write(self, tensor: Tensor, reach: Reach | None) -> None:
        """New contents of a tensor, and so of all that share its memory."""
        storage = tensor.untyped_storage()
        known = self._known.get(storage._cdata)
        if known is None and reach is None:
            return
        if _whole(tensor):
            self._known.pop(storage._cdata, None)
            self.record(tensor, reach)
            return
        places = {} if known is None else known[1]
        some = next(iter(places.values())) if places else reach
        assert some is not None
        flat = self._flat(tensor, places, some)
        offset, shape, stride = _place(tensor)
        for number, arrays in enumerate(flat):
            for name, array in arrays.items():
                value = NOTHING if reach is None else getattr(reach[number], name)
                array.as_strided(shape, stride, offset).copy_(torch.as_tensor(value).expand(shape))
        whole = tuple(_axis(axis.size, arrays) for axis, arrays in zip(some, flat, strict=True))
        place = (0, (_elements(tensor),), (1,))
        self._known[storage._cdata] = (StorageWeakRef(storage), {place: whole})

    def forget(self) -> None:
        """Drop what is no longer alive."""
        for key in [key for key, (alive, _) in self._known.items() if alive.expired()]:
            del self._known[key]

    def _flat(self, tensor: Tensor, places: dict[Place, Reach], some: Reach) -> list[dict[str, Tensor]]:
        """All of the memory's elements, in order."""
        elements = _elements(tensor)
        widest = max(places, key=lambda place: torch.Size(place[1]).numel(), default=None)
        found = []
        for number in range(len(some)):
            arrays = {}
            for name in ("first", "last"):
                array = torch.full((elements,), NOTHING, dtype=torch.int64)
                if widest is not None:
                    offset, shape, stride = widest
                    array.as_strided(shape, stride, offset).copy_(getattr(places[widest][number], name).expand(shape))
                arrays[name] = array
            found.append(arrays)
        return found

    def _seen_through(self, tensor: Tensor, places: dict[Place, Reach]) -> Reach:
        """A tensor that no operation gave: its elements, wherever in the memory they lie."""
        some = next(iter(places.values()))
        offset, shape, stride = _place(tensor)
        axes = []
        for axis, arrays in zip(some, self._flat(tensor, places, some), strict=True):
            seen = {name: compact(array.as_strided(shape, stride, offset)) for name, array in arrays.items()}
            axes.append(replace(_axis(axis.size, seen), mixed=axis.mixed))
        return tuple(axes)


def _axis(size: int, arrays: dict[str, Tensor]) -> Axis:
    first, last = arrays["first"], arrays["last"]
    return Axis(size, first, last, first, last, None)


class Alive:
    """How many bytes of results are alive at once."""

    def __init__(self, not_counted: Iterable[Tensor]) -> None:
        self._apart = {tensor.untyped_storage()._cdata for tensor in not_counted}
        self._alive: dict[int, tuple[StorageWeakRef, int, int]] = {}
        self.most = 0

    def see(self, results: Iterable[Any], number: int = 0) -> None:
        """Results of the operation of this number; its operands are alive still."""
        for tensor in results:
            storage = tensor.untyped_storage()
            if storage._cdata not in self._apart and storage._cdata not in self._alive:
                self._alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes(), number)
        for key in [key for key, (alive, _, _) in self._alive.items() if alive.expired()]:
            del self._alive[key]
        self.most = max(self.most, sum(size for _, size, _ in self._alive.values()))

    def born(self, tensor: Any) -> int:
        """The operation whose result the tensor's memory is."""
        found = self._alive.get(tensor.untyped_storage()._cdata)
        return 0 if found is None else found[2]
