from miners.engine_end import EngineEnd


class Engine:
    """The two members of vLLM's engine client that matter here."""

    def __init__(self) -> None:
        self.errored = False
        self.timeouts: list[float] = []

    def shutdown(self, timeout: float = 0.0) -> None:
        self.errored = True
        self.timeouts.append(timeout)


def test_an_engine_that_is_stopped_did_not_die_even_if_it_is_stopped_twice() -> None:
    engine, end = Engine(), EngineEnd()
    end.watch(engine)
    engine.shutdown(timeout=3)
    engine.shutdown(timeout=4)
    assert engine.timeouts == [3, 4]
    assert not end.died


def test_an_engine_that_failed_before_it_was_stopped_has_died() -> None:
    engine, end = Engine(), EngineEnd()
    end.watch(engine)
    engine.errored = True
    engine.shutdown()
    assert end.died
