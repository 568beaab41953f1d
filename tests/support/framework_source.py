"""The source of a framework that makes calls in every way in which frameworks make them.

A test writes it into a folder of installed packages. A function returns the call site of its call.
"""

from __future__ import annotations

from typing import Final

SOURCE: Final = '''
import asyncio
import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed, wait as wait_for_futures
from contextvars import copy_context

from promptcache.telemetry.call_site import find_call_site


def call(seconds=0.0):
    """Make a call, which takes some time: until then the caller has begun to wait."""
    deadline = time.monotonic() + seconds
    while (site := find_call_site()) is None and time.monotonic() < deadline:
        time.sleep(0.001)
    return site


async def call_async(seconds=0.0):
    await asyncio.sleep(0)
    return call(seconds)


END = object()


async def fill(results, work, readers=1):
    await results.put(await work())
    for _ in range(readers):
        await results.put(END)


async def call_later():
    """Make a call when the threads around it wait."""
    await asyncio.sleep(0.1)
    return call()


class Run:
    """One run of an agent, in a task that it holds."""

    def __init__(self, work, readers=1):
        self.results = asyncio.Queue()
        self.task = asyncio.create_task(fill(self.results, work, readers))

    async def stream(self):
        while (site := await self.results.get()) is not END:
            yield site


class Runtime:
    def __init__(self):
        self.tasks = set()

    def start(self, work):
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


class Team:
    def __init__(self):
        self.runtime, self.messages = Runtime(), asyncio.Queue()

    async def run(self):
        self.runtime.start(fill(self.messages, call_async))
        self.runtime.start(asyncio.sleep(0.01))
        return await asyncio.ensure_future(self.messages.get())


class Agent:
    """The public functions that an application calls."""

    def direct(self):
        return call()

    async def direct_async(self):
        return await call_async()

    async def task(self):
        return await asyncio.create_task(call_async())

    async def nested_tasks(self):
        return await asyncio.create_task(self.task())

    async def gather(self):
        return (await asyncio.gather(call_async(), call_async()))[1]

    async def wait(self):
        task = asyncio.create_task(call_async())
        await asyncio.wait([task])
        return task.result()

    async def wait_for(self):
        return await asyncio.wait_for(call_async(), 10)

    async def shield(self):
        return await asyncio.shield(call_async())

    async def group(self):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(call_async())
        return task.result()

    async def anyio_group(self):
        import anyio
        results = []
        async def work():
            results.append(await call_async())
        async with anyio.create_task_group() as group:
            group.start_soon(work)
        return results[0]

    async def thread_from_task(self):
        return await asyncio.to_thread(call, 10)

    async def stream(self):
        yield await asyncio.create_task(call_async())

    def pool(self):
        with ThreadPoolExecutor() as pool:
            return pool.submit(copy_context().run, call, 10).result()

    def pool_wait(self):
        with ThreadPoolExecutor() as pool:
            future = pool.submit(call, 10)
            wait_for_futures([future])
            return future.result()

    def pool_stream(self):
        with ThreadPoolExecutor() as pool:
            for future in as_completed([pool.submit(call, 10)]):
                yield future.result()

    def pool_map(self):
        with ThreadPoolExecutor() as pool:
            return next(pool.map(call, [10]))

    def nested_pools(self):
        with ThreadPoolExecutor() as pool:
            return pool.submit(self.pool).result()

    def joined_thread(self):
        result = []
        thread = threading.Thread(target=lambda: result.append(call(10)))
        thread.start()
        thread.join()
        return result[0]

    def loop_in_thread(self):
        async def run():
            return await asyncio.create_task(call_async(10))
        with ThreadPoolExecutor() as pool:
            return pool.submit(asyncio.run, run()).result()

    def thread_of_loop_in_thread(self):
        with ThreadPoolExecutor() as pool:
            return pool.submit(asyncio.run, self.thread_from_task()).result()

    def background_loop(self):
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            return asyncio.run_coroutine_threadsafe(call_async(10), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def queue_stream(self):
        """A task fills the queue that the caller reads."""
        results = asyncio.Queue()
        producer = asyncio.create_task(fill(results, call_async))
        while (site := await results.get()) is not END:
            yield site

    def start_run(self):
        return Run(call_async, readers=2)

    async def queue_of_run(self):
        async for site in Run(call_async).stream():
            return site

    async def queue_read_by_task(self):
        """A team runs its members in tasks of a runtime, and reads their messages."""
        return await Team().run()

    async def anyio_stream(self):
        """A task sends to the memory stream that the caller reads."""
        import anyio
        sender, receiver = anyio.create_memory_object_stream(1)
        async def send():
            await sender.send(await call_async())
        with sender, receiver:
            producer = asyncio.create_task(send())
            return await receiver.receive()

    async def anyio_thread(self):
        """A thread of anyio runs its call in the loop of the caller."""
        import anyio
        return await anyio.to_thread.run_sync(anyio.from_thread.run, call_later)

    async def first_of_queue_and_abort(self):
        results, abort = asyncio.Queue(), asyncio.Event()
        producer = asyncio.create_task(fill(results, call_async))
        waiting = [asyncio.create_task(results.get()), asyncio.create_task(abort.wait())]
        done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in rest:
            task.cancel()
        return done.pop().result()

    def queue_of_thread(self):
        results = queue.Queue()
        def work():
            results.put(call(10))
        thread = threading.Thread(target=copy_context().run, args=(work,))
        thread.start()
        try:
            return results.get()
        finally:
            thread.join()

    def queue_of_loop_in_thread(self):
        results = queue.Queue()
        async def run():
            async for site in self.queue_stream_of_slow_call():
                results.put(site)
        thread = threading.Thread(target=lambda: asyncio.run(run()))
        thread.start()
        try:
            return results.get()
        finally:
            thread.join()

    async def queue_stream_of_slow_call(self):
        results = asyncio.Queue()
        producer = asyncio.create_task(fill(results, call_later))
        while (site := await results.get()) is not END:
            yield site

    async def rest(self, seconds):
        await asyncio.sleep(seconds)

    async def other_queue(self, seconds):
        """Read a queue that another task fills, while the forgotten task makes its call."""
        results = asyncio.Queue()
        self.producer = asyncio.create_task(fill(results, lambda: asyncio.sleep(seconds)))
        await results.get()

    def run_sync(self):
        return asyncio.run(self.task())

    async def forgotten_task(self, results, work=call_async):
        self.kept = asyncio.create_task(work())
        self.kept.add_done_callback(lambda task: results.append(task.result()))

    def forgotten_thread(self, results):
        self.thread = threading.Thread(target=lambda: results.append(call()))
        self.thread.start()
'''
