"""A run in figures: what was promised, what happened, and whether the two agree."""

from __future__ import annotations

import math
import os
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.bench.report import Bar
from tests.chaos import recovery
from tests.chaos.accounting import Record
from tests.chaos.cluster.failovers import Wait, first_accepted, first_starts, longest_waits, waits_elsewhere, waits_of
from tests.chaos.faults import Fault
from tests.chaos.flows.accounts import Steps
from tests.chaos.limits.jobs import ALL_AT_ONCE, BATCH, OF_ONE_AT_ONCE, STARTS, WITHIN_S
from tests.chaos.load.ledger import Request
from tests.chaos.recovery import Delay
from tests.chaos.run import LEASE_S, SETTLE_LIMIT_S, Plan, Run

NAME, NAME_OF_CLUSTER = "chaos", "chaos of a cluster"
"""Of the marks between which the tables go."""
ANSWER_LIMIT_S, FIRST_CLAIM_LIMIT_S, RECOVERY_LIMIT_S = 2.0, 2.0, LEASE_S + 1
FAILOVER_LIMIT_S = 2.0
"""From the moment when another node has the slot."""
ELSEWHERE_LIMIT_S = 0.5
"""Or as long as jobs wait at other times, if that is more: faults of workers delay some."""
USUAL_RATE = 240.0
STEPS_A_SECOND = 20_000 / 300
"""At that rate, of all jobs; with all faults and what they hold up."""
NAMED = 5
"""As many offenders of a broken promise are named."""


@dataclass(frozen=True, slots=True)
class Line:
    """One figure."""

    section: str
    what: str
    figure: str
    bar: Bar | None = None
    names: Sequence[str] = ()
    """Who broke the promise."""

    def text(self) -> str:
        verdict = "" if self.bar is None else f"   {'ok' if self.bar.reached else 'BROKEN'} ({self.bar.text})"
        names = "".join(f"\n      {name}" for name in self.names[:NAMED])
        return f"  {self.what:58} {self.figure:>22}{verdict}{names}"


def lines_of(run: Run, *, leeway: float = 1.0) -> list[Line]:
    """All of a run's figures. `leeway` multiplies the bars on time, for machines that do other work as well."""
    return [
        *_load_lines(run),
        *_fault_lines(run),
        *_account_lines(run),
        *_step_lines(run, leeway),
        *_limit_lines(run),
        *_effect_lines(run),
        *_time_lines(run, leeway),
        *(_failover_lines(run, leeway) if run.plan.cluster else ()),
        *_answer_lines(run, leeway),
    ]


def broken(lines: Iterable[Line]) -> list[Line]:
    """Those whose promise was not kept."""
    return [line for line in lines if line.bar is not None and not line.bar.reached]


def as_text(run: Run, lines: Sequence[Line]) -> str:
    """For a terminal."""
    plan = run.plan
    parts = [f"\nchaos: seed {plan.seed}, {plan.seconds:g} s, {plan.workers} workers, {_store_of(plan)}"]
    section = ""
    for line in lines:
        if line.section != section:
            parts.append(f"\n{line.section}")
            section = line.section
        parts.append(line.text())
    missed = broken(lines)
    parts.append(f"\n{len(missed)} promises broken" + "".join(f"\n  {line.what}: {line.figure}" for line in missed))
    return "\n".join(parts)


def replace_between_marks(page: Path, table: str, *, name: str = NAME) -> None:
    """Puts the table between the page's two marks of that name. Raises ValueError where they are missing."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, _, rest = page.read_text().partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{page} has no {begin} and {end}")
    page.write_text(f"{before}{begin}\n{table}{end}{after}")


def as_markdown(runs: Sequence[tuple[Run, Sequence[Line]]], *, when: str) -> str:
    """A table with a column for each run."""
    plan = runs[0][0].plan
    cluster = f"CLUSTER={plan.cluster} PARTITIONS={plan.partitions} " if plan.cluster else ""
    rate = f" RATE={plan.rate:g}" if plan.rate != USUAL_RATE else ""
    command = f"make chaos {cluster}SECONDS={plan.seconds:g} SEED={plan.seed} RUNS={len(runs)}{rate}"
    heads = [f"seed {run.plan.seed}" for run, _ in runs]
    parts = [
        f"Made by `{command}` on {when}: {plan.workers} workers, `LEASE_S={LEASE_S:g}`, {_store_of(plan)}; "
        f"{os.cpu_count()} cores ({platform.machine()}), {platform.system()}, "
        f"Python {platform.python_version()}."
    ]
    section = ""
    for rows in zip(*(lines for _, lines in runs), strict=True):
        if rows[0].section != section:
            section = rows[0].section
            parts += [f"\n| {section} | {' | '.join(heads)} | promise |", "|---|" + "---|" * (len(heads) + 1)]
        figures = [line.figure if line not in broken([line]) else f"**{line.figure}**" for line in rows]
        parts.append(f"| {rows[0].what} | {' | '.join(figures)} | {rows[0].bar.text if rows[0].bar else ''} |")
    return "\n".join(parts) + "\n"


def _store_of(plan: Plan) -> str:
    fsync = f"`appendfsync {plan.fsync}`"
    if plan.cluster:
        return f"three masters and three replicas of {plan.cluster.title()} with {fsync}, `REPLICAS=1`"
    return f"Redis with {fsync}"


def _load_lines(run: Run) -> Iterator[Line]:
    requests, section = run.accounts.requests, "Load"
    unknown = [request for request in requests if request.unknown]
    types = Counter(wish.type for wish in run.accounts.wishes.values())
    yield Line(section, "jobs accepted (202)", f"{len(run.accounts.wishes):,}")
    yield Line(section, "of them no-ops, webhooks, letters, images", _join(types, "noop", "webhook", "welcome_email",
                                                                           "resize"))  # fmt: skip
    if run.plan.cluster:
        grades = Counter(wish.durability == "replicated" for wish in run.accounts.wishes.values())
        yield Line(section, "of them as `replicated`, with less than that", f"{grades[True]:,}, {grades[False]:,}")
    errors = _counted(Counter(request.error for request in unknown))
    yield Line(section, "jobs in requests that got no answer", f"{_jobs(unknown):,} in {len(unknown)}", names=errors)
    unreached = [request for request in requests if not request.reached]
    yield Line(section, "jobs in requests that reached no API", f"{_jobs(unreached):,} in {len(unreached)}")
    refused = [request for request in requests if request.status == 503]
    yield Line(section, "jobs in requests answered 503", f"{_jobs(refused):,} in {len(refused)}")


def _fault_lines(run: Run) -> Iterator[Line]:
    made = Counter(fault.kind for fault in run.faults)
    # those of a cluster wait for each other
    least = min(60.0, 0.2 * run.plan.seconds) / (2 if run.plan.cluster else 1)
    yield Line("Faults", "all", f"{len(run.faults)}", Bar.at_least(round(least), len(run.faults)))
    for kind in run.kinds:
        yield Line("Faults", kind, f"{made[kind]}", Bar.at_least(1, made[kind]))
    yield _none("Faults", "programs that ended by themselves", run.deserted)
    yield Line("Faults", "programs that had to be killed to end", f"{run.overdue}", Bar.at_most(0, run.overdue))


def _account_lines(run: Run) -> Iterator[Line]:
    accounts, section = run.accounts, "Accounts"
    states, strangers = accounts.states, accounts.strangers()
    for state, what in (
        ("succeeded", "succeeded"),
        ("failed", "dead"),
        ("cancelled", "cancelled"),
        ("pending", "pending"),
    ):
        yield Line(section, what, f"{states[state]:,}")
    yield _none(section, "lost: accepted, and not there", accounts.lost)
    missing = len(accounts.wishes) - sum(states.values())
    yield Line(section, "accepted less succeeded, dead, cancelled and pending", f"{missing}", Bar.at_most(0, missing))
    waiting = accounts.waiting_for_a_retry
    yield Line(section, "of them, waiting for a retry", f"{waiting:,}")
    stuck = states["pending"] - waiting - sum(wish.end == "pending" for wish in accounts.wishes.values())
    yield Line(section, "pending, though not deferred past the end", f"{stuck}", Bar.at_most(0, stuck))
    in_time = Bar(f"within {SETTLE_LIMIT_S:g} s", math.isfinite(run.settled_s))
    yield Line(section, "the queue ran empty after", f"{run.settled_s:.0f} s", in_time)
    differing = [job_id for job_id, same in run.asked_again.items() if not same]
    yield _none(section, f"of {len(run.asked_again)} asked for by GET, answered otherwise", differing)
    given_up, others = accounts.not_as_wished()
    yield Line(section, "given up after crashes", f"{given_up}", Bar.at_most(0, given_up))
    yield Line(
        section, "ended otherwise than asked", f"{others.total()}", Bar.at_most(0, others.total()), _counted(others)
    )
    yield Line(section, "there after no answer", f"{strangers['unknown'].total()}")
    yield Line(section, "there after a 503", f"{strangers['refused'].total()}")
    yield _none(section, "there and nobody's", list(strangers["nobody's"]))
    torn = accounts.torn_batches()
    yield Line(section, "batches that are there in part", f"{torn}", Bar.at_most(0, torn))
    yield _none(section, "keys, slots and lines left by ended jobs", accounts.left_over)


def _step_lines(run: Run, leeway: float) -> Iterator[Line]:
    steps, section = Steps.of(run.accounts.records.values()), "Steps that follow others"
    least = max(round(STEPS_A_SECOND * run.plan.seconds * run.plan.rate / USUAL_RATE / leeway), 1)
    yield Line(
        section, "steps of chains and groups, and by depends_on", f"{steps.number:,}", Bar.at_least(least, steps.number)
    )
    yield Line(section, "of them by depends_on", f"{steps.late:,}")
    yield _none(section, "lost: what they follow has succeeded, and they have not ended", steps.lost)
    yield _none(section, "there twice", steps.doubled)
    yield _none(section, "there, or started, before what they follow had succeeded", steps.early)
    yield _none(section, "ended otherwise than asked", steps.wrong)


def _limit_lines(run: Run) -> Iterator[Line]:
    limits, section = run.limits, "Limits"
    yield Line(
        section, "attempts of limited jobs, and those that a fault hit", f"{limits.attempts:,}, {limits.disturbed:,}"
    )
    yield _most(section, "at once: most of one key", OF_ONE_AT_ONCE, limits.most_of_one)
    yield _most(section, "at once: most of the type", ALL_AT_ONCE, limits.most_of_all)
    yield _none(section, "started though as many ran as may", limits.too_many)
    yield _most(section, f"most starts of one key within {WITHIN_S} s", STARTS, limits.most_starts)
    yield Line(section, "debounced or throttled, and those that another stood for",
               f"{limits.repeats:,}, {limits.stood_for_others:,}")  # fmt: skip
    yield _none(section, "debounced: ran too soon, or without the last change", limits.unsettled)
    yield _none(section, "throttled: put twice within the period", limits.unthrottled)
    yield _most(section, "the largest batch", BATCH, limits.largest_batch)


def _most(section: str, what: str, limit: int, figure: int) -> Line:
    return Line(section, what, f"{figure}", Bar.at_most(limit, figure))


def _effect_lines(run: Run) -> Iterator[Line]:
    accounts, effects, section = run.accounts, run.effects, "Effects"
    repeats = effects.repeats(accounts)
    interrupted = sum(record.interrupted for record in accounts.records.values())
    yield _none(section, "succeeded, and the effect never arrived", effects.missing(accounts))
    yield Line(section, "attempts interrupted (kill, pause, cut, drain)", f"{interrupted:,}")
    yield Line(section, "effects repeated", f"{repeats.total()}", Bar.at_most(interrupted, repeats.total()))
    yield Line(section, "of them no-ops, webhooks, letters", _join(repeats, "noop", "webhook", "welcome_email"))
    forgotten = effects.forgotten(accounts, run.disturbances) if run.plan.cluster else []
    beyond = [job_id for job_id in effects.unexplained(accounts) if job_id not in forgotten]
    yield _none(section, "repeated more often than interrupted", beyond)
    if run.plan.cluster:
        yield Line(section, "repeated after a master fell that had not handed on", f"{len(forgotten)}")
    yield _none(section, "not cancelled although a cancel said so", effects.after_cancel(accounts))
    yield _none(section, "run by two at once, and no fault hit the first", run.at_once[0])
    yield Line(section, "run by two at once, after the first had lost its lease", f"{len(run.at_once[1])}")
    yield Line(section, "stale outcomes dropped", f"{accounts.stale:,}")
    yield _none(section, "outcomes accepted that were not the owner's", effects.zombies(accounts))


def _time_lines(run: Run, leeway: float) -> Iterator[Line]:
    section, records = "Recovery", list(run.accounts.records.values())
    kills = recovery.after_kills(records, run.faults)
    alone = [delay for delay in kills if delay.alone]
    yield Line(section, "kill -9 of a worker to its jobs' next attempt: jobs", f"{len(alone)}")
    yield Line(section, "p50, max", f"{recovery.share_s(alone, 0.5):.2f} s, {recovery.share_s(alone, 1):.2f} s")
    yield _delay_line(section, "p99", alone, 0.99, partial(_time_bar, RECOVERY_LIMIT_S * leeway))
    others = [delay for delay in kills if not delay.alone]
    yield Line(section, "with other faults meanwhile: jobs", f"{len(others)}")
    yield Line(section, "p99 with other faults meanwhile", f"{recovery.share_s(others, 0.99):.2f} s")
    if not run.plan.cluster:
        yield from _back_lines(run, records, leeway)


def _back_lines(run: Run, records: Sequence[Record], leeway: float) -> Iterator[Line]:
    section, claims = "Recovery", recovery.after_redis(records, run.faults)
    first = [claim for claim in claims if claim.alone]
    yield Line(section, "Redis back to the first attempt, no other fault: times", f"{len(first)}")
    yield _delay_line(section, "slowest", first, 1, partial(_time_bar, FIRST_CLAIM_LIMIT_S * leeway))
    yield Line(section, "slowest of all, other faults meanwhile", f"{recovery.share_s(claims, 1):.2f} s")


def _failover_lines(run: Run, leeway: float) -> Iterator[Line]:
    """Bars for failovers that no fault of a process meets, nor a standstill: those delay jobs as well."""
    section, waits = "Failovers", waits_of(run.accounts.records.values())
    stills = [Fault("the machine stood still", "machine", began_s, end_s, 0) for began_s, end_s in run.stood_still]
    others = [*run.faults, *stills]
    yield Line(section, "master killed, hung, or handed over: times", f"{len(run.failovers)}")
    for kind in sorted({failover.kind for failover in run.failovers}):
        each_s = [failover.detected_s - failover.began_s for failover in run.failovers if failover.kind == kind]
        yield Line(section, f"{kind}: until another had the slot", f"{min(each_s):.2f} to {max(each_s):.2f} s")
    for what, delays in (
        ("a job that waited started", list(longest_waits(run.failovers, waits, others))),
        ("the next attempt began", list(first_starts(run.failovers, waits, others))),
        ("the next job was accepted", list(first_accepted(run.failovers, run.accounts.accepted_records, others))),
    ):
        alone = [delay for delay in delays if delay.alone]
        bar = partial(_time_bar, FAILOVER_LIMIT_S * leeway)
        yield _delay_line(section, f"then, until {what}: at most, {len(alone)} times", alone, 1, bar)
        yield Line(section, "the same, other faults meanwhile", f"{recovery.share_s(delays, 1):.2f} s")
    yield from _elsewhere_lines(run, waits, leeway)


def _elsewhere_lines(run: Run, waits: Sequence[Wait], leeway: float) -> Iterator[Line]:
    """The other partitions go on as if nothing was."""
    section, (meanwhile_s, otherwise_s) = "Failovers", waits_elsewhere(run.failovers, waits)
    if run.plan.partitions > 1:
        yield Line(section, "jobs due meanwhile in other partitions", f"{len(meanwhile_s):,}")
        (half_s, most_s), usual = _half_and_most(meanwhile_s), _half_and_most(otherwise_s)
        limit_s = max(usual[1], ELSEWHERE_LIMIT_S * leeway)
        yield Line(
            section, "due to started there: p50, p99", f"{half_s:.3f} s, {most_s:.3f} s", _time_bar(limit_s, most_s)
        )
        yield Line(section, "the same at other times", f"{usual[0]:.3f} s, {usual[1]:.3f} s")


def _half_and_most(waits_s: Sequence[float]) -> tuple[float, float]:
    delays = [Delay(wait_s, alone=True) for wait_s in waits_s]
    return recovery.share_s(delays, 0.5), recovery.share_s(delays, 0.99)


def _answer_lines(run: Run, leeway: float) -> Iterator[Line]:
    section, requests = "HTTP", run.accounts.requests
    odd = Counter(
        str(request.status) for request in requests if request.status not in (202, 503, None) and not request.is_equal
    )
    longest_s = max((end_s - began_s for began_s, end_s in run.stood_still), default=0.0)
    still = f"{len(run.stood_still)} times, {longest_s:.1f} s at most"
    yield Line("HTTP", "the machine stood still (left out of the times below)", still)
    yield Line(section, "answers 202, 503", f"{_answered(requests, 202):,}, {_answered(requests, 503):,}")
    yield Line(section, "any other answer", f"{odd.total()}", Bar.at_most(0, odd.total()), _counted(odd))
    cancels = Counter(str(status) for status in run.cancel_answers if status not in (200, 202, 409, 503, None))
    yield Line(section, "any other answer to a cancel", f"{cancels.total()}", Bar.at_most(0, cancels.total()),
               _counted(cancels))  # fmt: skip
    away = [request for request in requests if _within(request, run) and not _api_is_hit(request, run.faults)]
    slowest_s = max((request.took_s for request in away if not _is_still(request, run)), default=0.0)
    silent = sum(request.unknown for request in away if not _is_still(request, run))
    yield Line(section, "requests while Redis was away, the API alive", f"{len(away):,}")
    yield Line(section, "of them answered 202, 503", f"{_answered(away, 202):,}, {_answered(away, 503):,}")
    yield Line(section, "of them not answered", f"{silent}", Bar.at_most(0, silent))
    yield Line(section, "slowest of those answers", f"{slowest_s:.2f} s", _time_bar(ANSWER_LIMIT_S * leeway, slowest_s))


def _within(request: Request, run: Run) -> bool:
    return any(began_s <= request.sent_s <= back_s for began_s, back_s in run.redis_away)


def _api_is_hit(request: Request, faults: Sequence[Fault]) -> bool:
    """Under a fault of its own then, or coming up after one."""
    return not request.reached or any(
        "API" in fault.kind and fault.overlaps(request.sent_s - 1, request.sent_s + request.took_s) for fault in faults
    )


def _is_still(request: Request, run: Run) -> bool:
    """Under way while the machine stood still: its time says nothing."""
    return any(
        began_s < request.sent_s + request.took_s and request.sent_s < end_s for began_s, end_s in run.stood_still
    )


def _none(section: str, what: str, offenders: Sequence[str]) -> Line:
    return Line(section, what, f"{len(offenders)}", Bar.at_most(0, len(offenders)), offenders)


def _time_bar(limit_s: float, took_s: float) -> Bar:
    return Bar(f"≤ {limit_s:g} s", took_s <= limit_s)


def _delay_line(section: str, what: str, delays: Sequence[Delay], share: float, bar: Callable[[float], Bar]) -> Line:
    """A percentile and its bar; neither where nothing was measured."""
    if not delays:
        return Line(section, what, "not measured")
    took_s = recovery.share_s(delays, share)
    return Line(section, what, f"{took_s:.2f} s", bar(took_s))


def _jobs(requests: Iterable[Request]) -> int:
    return sum(len(request.jobs) for request in requests)


def _answered(requests: Iterable[Request], status: int) -> int:
    return sum(request.status == status for request in requests)


def _join(counts: Counter[str], *names: str) -> str:
    return ", ".join(f"{counts[name]:,}" for name in names)


def _counted(counts: dict[str, int] | Counter[str]) -> list[str]:
    return [f"{number} of {what}" for what, number in counts.items()]
