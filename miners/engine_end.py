"""How the engine ended: asked to, or by itself. vLLM's server returns normally from both."""

from typing import Any


class EngineEnd:
    """Watches one engine client; `died` is known once its server has returned."""

    def __init__(self) -> None:
        self.died = False

    def watch(self, engine_client: Any) -> None:
        """Look at the engine just before it is first shut down.

        After a signal it is still well then; after a crash vLLM's watchdog has seen its error and closed the
        server first.
        """
        shut_down = engine_client.shutdown

        def look_and_shut_down(*args: Any, **options: Any) -> Any:
            if engine_client.shutdown is look_and_shut_down:
                self.died = bool(engine_client.errored)
                engine_client.shutdown = shut_down
            return shut_down(*args, **options)

        engine_client.shutdown = look_and_shut_down
