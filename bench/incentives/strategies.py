"""What a miner may do with each request, and with its hotkeys, to earn more than honest work does."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from bench.incentives.cheats import (
    FP8,
    INT4,
    INT8,
    NOISE,
    PREFILL,
    UNANSWERED,
    UNOPENED,
    Cheat,
    Exposed,
    Trace,
)
from bench.incentives.population import LONG_ANSWER, SUBJECT, Machine, has_long_answer, is_long
from bench.incentives.traffic import Arrival
from shared.records import Outcome
from validator.sequential_test import Standing

CACHED_SPEED = 20.0
"""Speed of an answer that was computed honestly beforehand, ÷ that of computing it."""


@dataclass(frozen=True)
class Situation:
    """What a miner knows of itself: everything about it is published.

    Attributes:
        standing: its sequential test after the last epoch.
        rate: its audit rate as the epoch begins.
        epochs: since its hotkey was registered.
        rejected: whether the test rejects it as the epoch begins.
    """

    epoch: int
    epochs: int
    standing: Standing
    rate: float
    rejected: bool


@dataclass(frozen=True)
class Conduct:
    """What a miner does with one request.

    Attributes:
        trace: what an audit would find.
        speed_up: how much faster it answers than its machine honestly could.
        claimed: factor on the speed that its receipt claims.
        written: tokens of an answer that breaks off and fails.
    """

    outcome: Outcome = "answered"
    trace: Trace = None
    speed_up: float = 1.0
    claimed: float = 1.0
    written: int = 0


HONEST = Conduct()
REFUSE, RESET = Conduct("refused"), Conduct("failed")
BREAK_OFF = Conduct("failed", written=8)
Serve = Callable[[Arrival, Situation], Conduct]

Together = Literal["share", "queue", "turns", "shortest", "choosy", "drop", "alternate"]
"""What a machine does when several of its hotkeys are asked at once: works for all of them; or for one at a
time, in a fixed order, as they were asked, the shortest first, what is worth most first; or resets the
others' connections, those of all but the first, or but one that changes from round to round."""


def _never(_: Situation) -> bool:
    return False


@dataclass(frozen=True)
class Strategy:
    """One way to earn.

    Attributes:
        threat: number of the attack in the list of those that must not pay; 0 for honest miners.
        reregister: whether to go on under a new hotkey, asked before each epoch.
        uids: how many hotkeys share the machine, `overlap` how often they are at work at the same time.
        floods: the share of all requests that are its own, sent through the public API under so many `keys`.
        together: what the machine does when several of its hotkeys are asked in one round of probes.
    """

    name: str
    threat: int
    summary: str
    serve: Serve = field(default=lambda _arrival, _situation: HONEST)
    machine: Machine = SUBJECT
    reregister: Callable[[Situation], bool] = _never
    uids: int = 1
    overlap: float = 1.0
    floods: float = 0.0
    keys: int = 1
    together: Together = "share"


def cheating(cheat: Cheat | Exposed) -> Conduct:
    """An answer by a cheat, as fast as it is."""
    return Conduct(trace=cheat, speed_up=cheat.speed)


def always(conduct: Conduct) -> Serve:
    """The same with every request."""
    return lambda _arrival, _situation: conduct


def on_share(share: float, conduct: Conduct) -> Serve:
    """So with a share of the requests, honestly with the others."""
    return lambda arrival, _: conduct if arrival.whim < share else HONEST


def when(condition: Callable[[Situation], bool], serve: Serve) -> Serve:
    """So while a condition holds, honestly otherwise."""
    return lambda arrival, situation: serve(arrival, situation) if condition(situation) else HONEST


def on_organic(hit_rate: float) -> Serve:
    """4-bit weights for what it takes for a client's request; it tells so many of them right."""

    def serve(arrival: Arrival, _: Situation) -> Conduct:
        taken_for_probe = arrival.synthetic == (arrival.guess < hit_rate)
        return HONEST if taken_for_probe else cheating(INT4)

    return serve


def without_long(conduct: Conduct) -> Serve:
    """Does not answer long requests."""
    return lambda arrival, _: conduct if is_long(arrival) else HONEST


def in_rounds(serve: Serve, pressed: bool = True) -> Serve:
    """So while everybody is asked, honestly otherwise; or the other way round."""
    return lambda arrival, situation: serve(arrival, situation) if arrival.pressed is pressed else HONEST


def _excused(arrival: Arrival, _: Situation) -> Conduct:
    """Resets what is long while everybody is asked, and as much of everything else as might excuse it."""
    return RESET if (is_long(arrival) if arrival.pressed else arrival.whim < EXCUSES) else HONEST


def _without_long_answers(arrival: Arrival, _: Situation) -> Conduct:
    """Breaks off where it becomes slow."""
    return Conduct("failed", written=LONG_ANSWER) if has_long_answer(arrival) else HONEST


def flooding(name: str, summary: str, share: float, keys: int = 1) -> Strategy:
    """Sends so large a share of all requests itself, and answers those that reach it from a cache."""

    def serve(arrival: Arrival, _: Situation) -> Conduct:
        return Conduct(speed_up=CACHED_SPEED) if arrival.owner < share else HONEST

    return Strategy(name, 22, summary, serve, floods=share, keys=keys)


def _every_fifth(situation: Situation) -> bool:
    return situation.epoch % 5 == 4


def _settled(situation: Situation) -> bool:
    return situation.epoch >= 20


def _at_the_floor(situation: Situation) -> bool:
    return situation.rate < 0.15


def _rejected(situation: Situation) -> bool:
    return situation.rejected


def _next_epoch(situation: Situation) -> bool:
    return situation.epochs >= 1


def _second_epoch(situation: Situation) -> bool:
    return situation.epochs >= 2


def _third_epoch(situation: Situation) -> bool:
    return situation.epochs >= 3


def _doubted(situation: Situation) -> bool:
    return situation.standing.log_evidence > 0


WEAK_AT_LONG = replace(SUBJECT, long_prompt_speed=0.5)
HELPLESS_AT_LONG = replace(SUBJECT, long_prompt_speed=0.05)
SLOWING_DOWN = replace(SUBJECT, long_answer_speed=0.05)
EXCUSES = 0.3
"""Share of clients' requests that a strategy fails for an excuse."""

HONEST_STRATEGY = Strategy("honest", 0, "serves the true model")

STRATEGIES = (
    HONEST_STRATEGY,
    Strategy("probes-chance", 16, "int4 for what it takes for organic, by chance", on_organic(0.5)),
    Strategy("probes-60", 16, "the same, tells 60 % of the requests right", on_organic(0.6)),
    Strategy("probes-all", 16, "the same, tells every one right", on_organic(1.0)),
    Strategy("honest-in-rounds", 16, "int4 but while everybody is asked",
             lambda arrival, _: HONEST if arrival.pressed else cheating(INT4)),
    Strategy("silent", 17, "int4; answers no challenge", always(cheating(UNANSWERED))),
    Strategy("silent-tenth", 17, "int4 on a tenth; silent when it is asked about those",
             on_share(0.1, cheating(UNANSWERED))),
    Strategy("404-tenth", 17, "int4 on a tenth; does not open those", on_share(0.1, cheating(UNOPENED))),
    Strategy("resets-tenth", 17, "resets a tenth of the connections", on_share(0.1, RESET)),
    Strategy("defects-after-20", 18, "honest for 20 epochs, int4 then",
             when(_settled, always(cheating(INT4)))),
    Strategy("defects-at-floor", 18, "int4 on a tenth while its audit rate is below 15 %",
             when(_at_the_floor, on_share(0.1, cheating(INT4)))),
    Strategy("sparing-at-floor", 18, "int4 on one answer in fifty while it is below 15 %",
             when(_at_the_floor, on_share(0.02, cheating(INT4)))),
    Strategy("int8-at-floor", 18, "int8 on a tenth while it is below 15 %",
             when(_at_the_floor, on_share(0.1, cheating(INT8)))),
    Strategy("on-off", 18, "int4 in every fifth epoch", when(_every_fifth, always(cheating(INT4)))),
    Strategy("on-off-int8", 18, "int8 in every fifth epoch", when(_every_fifth, always(cheating(INT8)))),
    Strategy("int4-fiftieth", 18, "int4 on one answer in fifty", on_share(0.02, cheating(INT4))),
    Strategy("int8-tenth", 18, "int8 on a tenth of the answers", on_share(0.1, cheating(INT8))),
    Strategy("int8-fiftieth", 18, "int8 on one answer in fifty", on_share(0.02, cheating(INT8))),
    Strategy("int8-while-trusted", 18, "int8 while there is no evidence against it",
             when(lambda situation: not _doubted(situation), always(cheating(INT8)))),
    Strategy("reports-tenfold", 19, "its receipts claim ten times its speed", always(Conduct(claimed=10.0))),
    Strategy("refuses-long", 20, "answers 400 to long prompts", without_long(REFUSE)),
    Strategy("resets-long", 20, "resets connections with long prompts", without_long(RESET)),
    Strategy("refuses-weakness", 20, "answers 400 to long prompts, its machine being slow at them",
             without_long(REFUSE), machine=WEAK_AT_LONG),
    Strategy("refuses-weakness-in-rounds", 20, "the same while everybody is asked, honest otherwise",
             in_rounds(without_long(REFUSE)), machine=WEAK_AT_LONG),
    Strategy("refuses-weakness-outside", 20, "the same but while everybody is asked",
             in_rounds(without_long(REFUSE), pressed=False), machine=WEAK_AT_LONG),
    Strategy("refuses-hardest", 20,
             "answers 400 to long prompts, its machine having a twentieth of its speed",
             without_long(REFUSE), machine=HELPLESS_AT_LONG),
    Strategy("resets-weakness", 20, "resets long prompts, its machine being slow at them",
             without_long(RESET), machine=WEAK_AT_LONG),
    Strategy("resets-weakness-in-rounds", 20, "the same while everybody is asked, honest otherwise",
             in_rounds(without_long(RESET)), machine=WEAK_AT_LONG),
    Strategy("resets-hardest", 20, "resets long prompts, its machine having a twentieth of its speed",
             without_long(RESET), machine=HELPLESS_AT_LONG),
    Strategy("resets-for-excuses", 20, "the same in rounds, and elsewhere three of ten requests",
             _excused, machine=HELPLESS_AT_LONG),
    Strategy("truncates-weakness", 20,
             "breaks off after eight tokens what is long, its machine being slow at it",
             without_long(BREAK_OFF), machine=WEAK_AT_LONG),
    Strategy("truncates-slow-end", 20, "breaks off where its machine falls to a twentieth of its speed",
             _without_long_answers, machine=SLOWING_DOWN),
    Strategy("truncates-slow-end-in-rounds", 20, "the same while everybody is asked, honest otherwise",
             in_rounds(_without_long_answers), machine=SLOWING_DOWN),
    Strategy("int4", 21, "serves 4-bit weights", always(cheating(INT4))),
    Strategy("fp8", 21, "serves fp8 weights", always(cheating(FP8))),
    Strategy("int8", 21, "serves int8 weights", always(cheating(INT8))),
    Strategy("noise-0.3", 21, "serves weights with 0.3 % of noise", always(cheating(NOISE))),
    Strategy("prefill-attack", 21, "a cheap model writes, the true one prefills", always(cheating(PREFILL))),
    flooding("floods-5", "5 % of all requests are its own, under one API key, answered from a cache", 0.05),
    flooding("floods-30", "30 % of all requests", 0.3),
    flooding("floods-60", "60 % of all requests", 0.6),
    flooding("floods-5-keys-5", "5 % of all requests, under five keys or from five addresses", 0.05, keys=5),
    flooding("floods-30-keys-5", "30 % under five keys", 0.3, keys=5),
    flooding("floods-30-keys-20", "30 % under twenty keys", 0.3, keys=20),
    flooding("floods-60-keys-20", "60 % under twenty keys", 0.6, keys=20),
    flooding("floods-60-keys-100", "60 % under a hundred keys, as many as all clients have", 0.6, keys=100),
    flooding("floods-90-keys-1000", "90 % under a thousand keys", 0.9, keys=1000),
    Strategy("fast-in-rounds", 19, "at half its speed but while everybody is asked",
             lambda arrival, _: HONEST if arrival.pressed else Conduct(speed_up=0.5)),
    Strategy("new-when-caught", 23, "int4; a new hotkey whenever the test rejects the old one",
             always(cheating(INT4)), reregister=_rejected),
    Strategy("new-every-third", 23, "int8 on a tenth; a new hotkey every third epoch",
             on_share(0.1, cheating(INT8)), reregister=_third_epoch),
    Strategy("new-when-doubted", 23, "int8 on a tenth; a new hotkey whenever there is evidence",
             on_share(0.1, cheating(INT8)), reregister=_doubted),
    Strategy("two-uids-busy", 13, "one machine under two uids, both always at work", uids=2),
    Strategy("two-uids-half", 13, "one machine under two uids, at work at the same time half of the time",
             uids=2, overlap=0.5),
    Strategy("two-uids-idle", 13, "one machine under two uids, never at work at the same time",
             uids=2, overlap=0.0),
    Strategy("two-uids-queue", 13, "the same, and serves one after the other when both are asked at once",
             uids=2, overlap=0.0, together="queue"),
    Strategy("two-uids-drop", 13, "the same, and then resets the connection of the second",
             uids=2, overlap=0.0, together="drop"),
    Strategy("two-uids-alternate", 13, "serves one of them alone in each round that asks all, in turn",
             uids=2, overlap=0.0, together="alternate"),
    Strategy("two-uids-turns", 13, "one answer after the other, as they were asked",
             uids=2, overlap=0.0, together="turns"),
    Strategy("two-uids-shortest", 13, "one answer after the other, the shortest first",
             uids=2, overlap=0.0, together="shortest"),
    Strategy("two-uids-new", 13, "new hotkeys every third epoch, before pairs can be told",
             reregister=_third_epoch, uids=2, overlap=0.0),
    Strategy("two-uids-newest", 13, "new hotkeys in every epoch",
             reregister=_next_epoch, uids=2, overlap=0.0),
    Strategy("two-uids-staggered", 13, "new hotkeys every second epoch, at work at once half of the time",
             reregister=_second_epoch, uids=2, overlap=0.5),
    Strategy("sixteen-uids-idle", 13, "one machine under sixteen uids", uids=16, overlap=0.0),
    Strategy("sixteen-uids-queue", 13, "the same, always in one order", uids=16, overlap=0.0,
             together="queue"),
    Strategy("sixteen-uids-turns", 13, "the same, as they were asked", uids=16, overlap=0.0,
             together="turns"),
    Strategy("sixteen-uids-shortest", 13, "the same, the shortest answer first", uids=16, overlap=0.0,
             together="shortest"),
    Strategy("sixteen-uids-choosy", 13, "the same, what promises most tokens a second first", uids=16,
             overlap=0.0, together="choosy"),
    Strategy("sixteen-uids-new", 13, "always in one order; new hotkeys every third epoch",
             reregister=_third_epoch, uids=16, overlap=0.0, together="queue"),
    Strategy("four-uids-idle", 13, "one machine under four uids, never at work at the same time",
             uids=4, overlap=0.0),
)  # fmt: skip
"""Threats by their numbers: 13 two uids on one machine; 16 honest for probes only; 17 turns failures into
voids; 18 earns trust, then defects; 19 lies about its speed; 20 refuses what is hard; 21 fast and dishonest;
22 floods itself; 23 sheds its history."""

HARMS = (
    Strategy("faults-1", 0, "1 % of its attempts fail", machine=replace(SUBJECT, fault_share=0.01)),
    Strategy("faults-5", 0, "5 % of its attempts fail", machine=replace(SUBJECT, fault_share=0.05)),
    Strategy("lost-epoch", 0, "can't be reached in epoch 20",
             lambda _, situation: RESET if situation.epoch == 20 else HONEST),
    Strategy("outage", 0, "dies in the middle of epoch 20 and is away to its end, challenges unanswered",
             lambda arrival, situation: HONEST if situation.epoch != 20
             else RESET if arrival.at_s > 750 else Conduct(trace=replace(UNANSWERED, speed=1.0))),
)  # fmt: skip
"""What happens to honest miners."""


def strategy_named(name: str) -> Strategy:
    """The strategy or harm of that name, which must exist."""
    return next(one for one in (*STRATEGIES, *HARMS) if one.name == name)
