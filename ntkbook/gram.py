"""Gram matrices tile by tile: in memory, on disk and resumable, on one machine or many."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ntkbook._fingerprint import fingerprint
from ntkbook._gram_store import GramStoreError, StoredGram, TileWriter
from ntkbook._validation import check_alike, check_count, check_dtype, check_finite, check_tensor, is_real

__all__ = ["GramStoreError", "StoredGram", "gram"]

_Kernel = Callable[[Tensor, Tensor], Tensor]
_Tile = tuple[int, int]


def gram(
    kernel: _Kernel,
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    tile_size: int = 64,
    store: str | os.PathLike[str] | None = None,
    progress: bool = True,
    client: Any = None,
    dtype: torch.dtype | None = None,
) -> Tensor | StoredGram:
    r"""Gram matrix of any kernel of two batches, by tiles.

    .. math::

        G_{ij} = k(x_i, x'_j)

    Parameters
    ----------
    kernel : callable
        Takes two batches, (n, ...) and (m, ...), and returns a tensor (n, m), or (n, m, K) or (n, m, K,
        K) for several outputs. Analytic, empirical and convolutional kernels all do: ``lambda a, b:
        infinite_width(net)(a, b).ntk``.
    x1 : Tensor, (N1, ...)
        The first inputs.
    x2 : Tensor, (N2, ...), optional
        The second inputs. By default ``x1``: then the tiles above the diagonal are computed once and
        mirrored (with the outputs' axes exchanged where there are two).
    tile_size : int
        Rows and columns of a tile: the batch that ``kernel`` sees, and what a crash can lose.
    store : path, optional
        A directory for the matrix. It is created, or, if it holds tiles of this very run, continued:
        after any interruption, kill -9 included, the same call takes up where the last one stopped.
    progress : bool
        Show a bar with the number of entries and the time left.
    client : dask.distributed.Client, optional
        Compute the tiles on a cluster. Tiles of workers that die are computed again elsewhere.
    dtype : torch.dtype, optional
        The dtype of the result; by default what ``kernel`` returns.

    Returns
    -------
    Tensor, (N1, N2, ...)
        Without a store, on the device of the kernel's tiles.
    StoredGram
        With a store: indexing gives tensors, ``@`` reads a row of tiles at a time, ``numpy.asarray`` all
        of it, and :func:`ntkbook.solve` takes it as it is.

    Raises
    ------
    GramStoreError
        If the store belongs to other data, another kernel, dtype, tile size or version (with what
        differs), is corrupt, or cannot be written (a full disk), or if the cluster's scheduler is lost.
        Nothing that is in it is lost.
    ValueError, TypeError
        If the kernel returns another shape than (n, m, ...), NaN, or no tensor.

    Notes
    -----
    Computes :math:`\lceil N_1 / t \rceil \lceil N_2 / t \rceil` tiles of size t, or about half of them
    where x2 is not given. Memory beyond the result: one tile, with a client about two per worker thread.
    Opening a store reads it once, to compare every tile with its checksum. Power failures, unlike
    crashes, may lose more than the tiles in flight, but what is lost is noticed.

    Examples
    --------
    >>> import torch, ntkbook
    >>> x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    >>> ntkbook.gram(lambda a, b: a @ b.T, x, tile_size=2, progress=False)
    tensor([[1., 0., 1.],
            [0., 4., 2.],
            [1., 2., 2.]])
    """
    _check(kernel, x1, x2, dtype, store, client)
    tile_size = check_count("tile_size", tile_size)
    second = x1 if x2 is None else x2
    shape = (len(x1), len(second))
    symmetric = x2 is None
    writer = None
    done = np.zeros([-(-n // tile_size) for n in shape], bool)
    if store is not None:
        writer = TileWriter(os.fspath(store), _identity(kernel, x1, x2, tile_size, dtype))
        done = writer.done()
    missing = ~done
    if symmetric:
        # A kill may fall between a tile and its mirror image: then both are written again.
        missing |= missing.T
    tiles = [(i, j) for i, j in np.argwhere(missing).tolist() if not symmetric or i <= j]
    result: Tensor | None = None
    compute = _on_cluster(client, kernel, x1, second, tile_size, tiles) if client else None
    total = shape[0] * shape[1]
    finished = total - sum(_entries(tile, shape, tile_size, symmetric) for tile in tiles)
    with tqdm(
        total=total, initial=finished, unit="entry", unit_scale=True, disable=not progress, desc="gram"
    ) as bar:
        for (i, j), tile in compute or _in_process(kernel, x1, second, tile_size, tiles):
            tile = _checked(tile, i, j, shape, tile_size)
            tile = tile if dtype is None else tile.to(dtype)
            if symmetric and i == j:
                tile = _symmetrized(tile)
            mirrored = _transposed(tile) if symmetric and i != j else None
            if writer is not None:
                writer.write(i, j, tile, mirrored)
            else:
                if result is None:
                    result = tile.new_empty((*shape, *tile.shape[2:]))
                rows, columns = _slice(i, tile_size), _slice(j, tile_size)
                result[rows, columns] = tile
                if mirrored is not None:
                    result[columns, rows] = mirrored
            bar.update(_entries((i, j), shape, tile_size, symmetric))
    if writer is not None:
        return StoredGram(writer.path)
    assert result is not None  # x1 and x2 are not empty
    return result


def _in_process(
    kernel: _Kernel, x1: Tensor, x2: Tensor, size: int, tiles: list[_Tile]
) -> Iterator[tuple[_Tile, Tensor]]:
    """Yield ((i, j), tile), one after the other."""
    for i, j in tiles:
        rows = x1[_slice(i, size)]
        # The same tensor, so that a kernel can tell a symmetric tile by ``b is a``.
        columns = rows if x1 is x2 and i == j else x2[_slice(j, size)]
        yield (i, j), _tile(kernel, rows, columns)


def _on_cluster(
    client: Any, kernel: _Kernel, x1: Tensor, x2: Tensor, size: int, tiles: list[_Tile]
) -> Iterator[tuple[_Tile, Tensor]]:
    """Yield ((i, j), tile) in the order in which the workers finish.

    The kernel and the rows of the data travel once each, as results of tasks: the scheduler can make
    those again when the worker that held them dies, which it cannot for data that were scattered.
    """
    from distributed import as_completed

    waiting = iter(tiles)
    running: dict[str, _Tile] = {}

    def submit() -> None:
        tile = next(waiting, None)
        if tile is not None:
            future = client.submit(_tile, shipped, rows[tile[0]], columns[tile[1]], pure=False)
            running[future.key] = tile
            in_flight.add(future)  # type: ignore[no-untyped-call]

    with _loss_named(client):
        in_flight = as_completed(loop=client.loop)  # type: ignore[no-untyped-call]
        shipped = client.submit(_same, kernel, pure=False)
        rows = [client.submit(_same, x1[_slice(i, size)], pure=False) for i in range(-(-len(x1) // size))]
        columns = rows
        if x2 is not x1:
            columns = [
                client.submit(_same, x2[_slice(j, size)], pure=False) for j in range(-(-len(x2) // size))
            ]
        # Enough to keep every thread busy while results travel; more would only fill the workers' memory.
        for _ in range(2 * max(1, sum(client.nthreads().values()))):
            submit()
    for future in in_flight:
        if future.status == "error":
            future.result()  # raises what the kernel raised, or that its workers died
        with _loss_named(client):
            tile = future.result()
            submit()
        yield running.pop(future.key), tile


@contextmanager
def _loss_named(client: Any) -> Iterator[None]:
    """Name the loss of the scheduler, which a client tells by many an error, or by its state alone."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, OSError | CancelledError) and client.status == "running":
            raise
        raise GramStoreError(
            f"the cluster's scheduler was lost ({type(error).__name__}). With a store the tiles before "
            "are kept: call ntkbook.gram again, with another client or without one"
        ) from error


def _same(value: Any) -> Any:
    return value


def _tile(kernel: _Kernel, rows: Tensor, columns: Tensor) -> Tensor:
    with torch.no_grad():
        return kernel(rows, columns)


def _slice(index: int, size: int) -> slice:
    return slice(index * size, (index + 1) * size)


def _entries(tile: _Tile, shape: tuple[int, int], size: int, symmetric: bool) -> int:
    """Return how many entries of the matrix a tile settles."""
    i, j = tile
    own = min(size, shape[0] - i * size) * min(size, shape[1] - j * size)
    return 2 * own if symmetric and i != j else own


def _transposed(tile: Tensor) -> Tensor:
    """Return k(x', x) from k(x, x'): pairs exchanged, and the two outputs where there are two."""
    swapped = tile.transpose(0, 1)
    return swapped.transpose(2, 3) if tile.ndim == 4 else swapped


def _symmetrized(tile: Tensor) -> Tensor:
    """Return a tile of the diagonal with its upper half mirrored: symmetric to the bit."""
    index = torch.arange(len(tile), device=tile.device)
    upper = (index[:, None] <= index[None, :]).reshape(*tile.shape[:2], *[1] * (tile.ndim - 2))
    return torch.where(upper, tile, _transposed(tile))


def _checked(tile: Any, i: int, j: int, shape: tuple[int, int], size: int) -> Tensor:
    """Return the tile if it is one."""
    if not isinstance(tile, Tensor):
        raise TypeError(
            f"kernel must return a torch.Tensor (n, m, ...), got {type(tile).__name__}; for a pair of "
            "kernels take one of them: lambda a, b: kernel(a, b).ntk"
        )
    wanted = (min(size, shape[0] - i * size), min(size, shape[1] - j * size))
    if tile.shape[:2] != wanted or tile.ndim > 4 or (tile.ndim == 4 and tile.shape[2] != tile.shape[3]):
        raise ValueError(
            f"kernel must return (n, m), (n, m, K) or (n, m, K, K) for batches of n, m = {wanted}, got shape "
            f"{tuple(tile.shape)}"
        )
    if not is_real(tile.dtype):
        raise TypeError(
            f"kernel must return real floating point, got {tile.dtype}; let it compute in that of the inputs"
        )
    return check_finite(f"the kernel's tile ({i}, {j})", tile.detach())


def _identity(
    kernel: _Kernel, x1: Tensor, x2: Tensor | None, tile_size: int, dtype: torch.dtype | None
) -> dict[str, Any]:
    """Return what must agree between the run that made a store and the one that resumes it."""
    from ntkbook import __version__

    return {
        "version": __version__,
        "kernel": fingerprint(kernel),
        "x1": fingerprint(x1),
        "x2": "x1" if x2 is None else fingerprint(x2),
        "shape": [len(x1), len(x1 if x2 is None else x2)],
        "tile_size": tile_size,
        "dtype": str(dtype),
    }


def _check(kernel: object, x1: Any, x2: Any, dtype: object, store: object, client: object) -> None:
    if not callable(kernel):
        raise TypeError(f"kernel must be a callable of two batches, got {type(kernel).__name__}")
    for name, x in (("x1", x1), ("x2", x2)):
        if name == "x1" or x is not None:
            if check_tensor(name, x).ndim == 0:
                raise ValueError(f"{name} must have a first axis of inputs, got a scalar; use {name}[None]")
            check_finite(name, x)
    if x2 is not None:
        check_alike("x2", x2, "x1", x1)
        if x1.shape[1:] != x2.shape[1:]:
            raise ValueError(
                f"x1 and x2 must have inputs of one shape, got {tuple(x1.shape)} and {tuple(x2.shape)}; "
                "only their first dimensions may differ"
            )
    if dtype is not None:
        check_dtype("dtype", dtype)
    if store is not None and not isinstance(store, str | os.PathLike):
        raise TypeError(f"store must be a path, got {store!r}; name a directory")
    if client is not None and not hasattr(client, "submit"):
        raise TypeError(
            f"client must be a distributed.Client, got {type(client).__name__}; make one with "
            "distributed.Client(address)"
        )
