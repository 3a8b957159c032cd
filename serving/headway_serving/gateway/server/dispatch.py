"""Where each request is worked on.

* A posted picture is classified on the event loop's own thread, as a greenlet (``concurrency.event_loop``): no switch
  between threads is needed for it, and those cost more than all the work on a small picture.
* All else (forms, JSON, pages, metrics) goes to the Flask application in a pool of threads, where code may block.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial

from headway_serving.concurrency import event_loop
from headway_serving.gateway.requests.answer import Answer
from headway_serving.gateway.server.decisions import Request
from headway_serving.gateway.server.intake import GatewayIntake, is_classification
from headway_serving.gateway.server.picture_posts import PicturePosts
from headway_serving.gateway.server.wsgi_calls import Application, call_wsgi

Done = Callable[[Answer], None]


class Dispatcher:
    """Has requests answered. For one event loop, whose thread alone may use it."""

    def __init__(
        self,
        application: Application,
        posts: PicturePosts,
        threads: Executor,
        intake: GatewayIntake,
        address: tuple[str, int],
    ) -> None:
        """``threads``: where ``application`` is called. ``address``: where the server listens."""
        self._application, self._posts, self._threads = application, posts, threads
        self._address = address
        self.intake = intake

    def begin(self, loop: asyncio.AbstractEventLoop, request: Request, done: Done) -> None:
        """Begin to answer a request; ``done`` gets the answer, on the loop."""
        post = self._posts.recognized(request)
        if post is not None or is_classification(request):
            self.intake.under_way += 1
            done = partial(self._classified, done)
        if post is not None:
            event_loop.start(loop, partial(self._posts.answer, post), done)
        else:
            called = loop.run_in_executor(self._threads, call_wsgi, self._application, request, self._address)
            called.add_done_callback(partial(self._called, done))

    def _classified(self, done: Done, answer: Answer) -> None:
        self.intake.under_way -= 1
        done(answer)

    def _called(self, done: Done, called: "asyncio.Future[Answer]") -> None:
        if called.cancelled():
            return
        error = called.exception()
        # The application answers its own errors: this is one of the code around it.
        if isinstance(error, Exception):
            done(self.intake.answer_to(error))
        else:
            done(called.result())
