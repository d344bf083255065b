"""What runs beside the engine lane: slow safe nodes in a small pool, async nodes on an event loop of the lane's own.

Both exist only once something needs them. Everything finished comes back to the lane as a call to make there.
"""

from __future__ import annotations

import asyncio
import os
import queue
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

R = TypeVar("R")
OnResult = Callable[[R], None]
OnError = Callable[[BaseException], None]


class Beside:
    """Work in flight beside the thread that made this; only that thread calls it, but for `post`."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._pool: ThreadPoolExecutor | None = None
        self._done: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._waker_task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._closing = False

    @property
    def only_async(self) -> bool:
        """Whether nothing but async work is in flight, which can be called off at once."""
        return self.in_flight <= len(self._tasks)

    @property
    def has_room(self) -> bool:
        """Whether the pool has a free thread."""
        return self.in_flight < _workers()

    def in_pool(self, work: Callable[[], R], on_result: OnResult[R], on_error: OnError) -> None:
        """Run `work` on another thread; one of the two callbacks comes back on this one."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_workers(), thread_name_prefix="tessera-node")
        self.in_flight += 1

        def run() -> None:
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001  # handed to the lane, which decides
                self._land(on_error, error)
            else:
                self._land(on_result, result)

        self._pool.submit(run)

    def in_loop(self, work: Callable[[], Awaitable[R]], on_result: OnResult[R], on_error: OnError) -> None:
        """Run a coroutine beside others; it moves on in `step` and `wait`."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        self.in_flight += 1

        async def run() -> None:
            try:
                result = await work()
            except asyncio.CancelledError:
                if not self._closing:  # the node called itself off
                    self._land(on_error, RuntimeError("it was cancelled from within"))
                raise
            except Exception as error:  # noqa: BLE001  # handed to the lane, which decides
                self._land(on_error, error)
            else:
                self._land(on_result, result)

        task = self._loop.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def step(self) -> None:
        """Let waiting async work move on without waiting for it."""
        if self._tasks and self._loop is not None:
            self._loop.call_soon(self._loop.stop)
            self._loop.run_forever()
            self._drain()

    def wait(self) -> None:
        """Until something in flight is finished or `post` was called; then make the calls that came back."""
        if self._tasks and self._loop is not None:
            waker = self._waker(self._loop)
            self._loop.run_until_complete(asyncio.wait(self._tasks | {waker}, return_when="FIRST_COMPLETED"))
        else:
            self._done.get()()
        self._drain()

    def post(self, call: Callable[[], None]) -> None:
        """Have `call` made on the lane, waking it; from any thread."""
        self._done.put(call)
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._woken.set)
            except RuntimeError:  # the run has just ended and closed its loop
                return

    def close(self) -> None:
        """Call off async work and wait for what runs in the pool."""
        self._closing = True
        if self._pool is not None:
            self._pool.shutdown(wait=True)
        if self._loop is not None:
            left = [t for t in (*self._tasks, self._waker_task) if t is not None and not t.done()]
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop, self._loop = self._loop, None
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def _land(self, callback: Callable[[R], None], value: R) -> None:
        def landed() -> None:
            self.in_flight -= 1
            callback(value)

        self.post(landed)

    def _drain(self) -> None:
        while not self._done.empty():
            self._done.get()()

    def _waker(self, loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
        async def until_woken() -> None:
            while self._done.empty():
                self._woken.clear()
                await self._woken.wait()

        if self._waker_task is None or self._waker_task.done():
            self._waker_task = loop.create_task(until_woken())
        return self._waker_task


def _workers() -> int:
    return max(1, min(8, os.cpu_count() or 1))
