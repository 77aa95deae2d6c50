"""The one table that reads Helm's words: which error a failed run means.

The texts were taken from Helm 4.3.1 by provoking each, and from the sources of 3.18. What no row knows
becomes `HelmFailed` with Helm's own message, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from bot.errors import BotError, OutcomeUnknown, Permanent, Temporary, UserMistake
from bot.helm.explain_details import (
    apply_conflict,
    hook_failed,
    manifest_refused,
    not_ready_in_time,
    render_failed,
    values_refused,
)
from bot.helm.failures import (
    ClusterForbids,
    ClusterUnreachable,
    HelmFailed,
    HelmTooOld,
    ManifestRefused,
    ReleaseNotFound,
    ReleasePending,
    RepositoryUnreachable,
    RevisionNotFound,
    ValuesRefused,
)
from bot.helm.stderr import Failure, cut


def explain(failure: Failure) -> BotError:
    """The error that this failure means."""
    if failure.exit_code < 0 and not failure.text:
        return _killed(failure)
    text = failure.text
    for pattern, make in _TABLE:
        if match := pattern.search(text):
            return make(failure, match)
    if failure.timed_out or failure.exit_code < 0:
        return _killed(failure)
    first = text.splitlines()[0] if text else f"exit code {failure.exit_code}"
    return HelmFailed(f"`helm {failure.command}` of {failure.subject} failed: {cut(first)}", evidence=failure.evidence)


def _killed(failure: Failure) -> BotError:
    how = "took too long and was stopped" if failure.timed_out else f"was ended by signal {-failure.exit_code}"
    message = f"`helm {failure.command}` of {failure.subject} {how}."
    if failure.mutating:
        return OutcomeUnknown(message, way_out="Look at the release's history first.", evidence=failure.evidence)
    return Temporary(message, evidence=failure.evidence)


Make = Callable[[Failure, "re.Match[str]"], BotError]


def _pending(failure: Failure, match: re.Match[str]) -> BotError:
    return ReleasePending(
        f"Another operation on {failure.subject} is in progress, or was cut off in the middle.",
        way_out="Wait for it; if nobody is at work, roll back to the last good revision.",
        evidence=failure.evidence,
    )


def _release_not_found(failure: Failure, match: re.Match[str]) -> BotError:
    return ReleaseNotFound(
        f"There is no release {failure.subject}.",
        way_out="Check its name and namespace.",
        evidence=failure.evidence,
    )


def _revision_not_found(failure: Failure, match: re.Match[str]) -> BotError:
    return RevisionNotFound(
        f"{failure.subject} has no revision {match[1]}.",
        way_out="Its history shows the revisions that are kept.",
        evidence=failure.evidence,
    )


def _cluster_unreachable(failure: Failure, match: re.Match[str]) -> BotError:
    return ClusterUnreachable(
        "The cluster does not answer.",
        way_out="Try again when its API server is back.",
        evidence=failure.evidence,
    )


def _no_cluster(failure: Failure, match: re.Match[str]) -> BotError:
    return Permanent(
        f"Helm does not know which cluster is meant: {cut(failure.text)}",
        way_out="Correct the kubeconfig or the context in the configuration.",
        evidence=failure.evidence,
    )


def _values_not_yaml(failure: Failure, match: re.Match[str]) -> BotError:
    return ValuesRefused(f"The file of values is not YAML: {cut(match['why'])}", fields=(), evidence=failure.evidence)


def _broken_connection(failure: Failure, match: re.Match[str]) -> BotError:
    if failure.mutating:
        return OutcomeUnknown(
            f"The cluster stopped answering in the middle of `helm {failure.command}` of {failure.subject}.",
            way_out="Look at the release's history before anything else is done.",
            evidence=failure.evidence,
        )
    return _cluster_unreachable(failure, match)


def _repository(failure: Failure, match: re.Match[str]) -> BotError:
    return RepositoryUnreachable(
        "The chart repository does not answer as it should.",
        way_out="Try again later.",
        evidence=failure.evidence,
    )


def _no_chart(failure: Failure, match: re.Match[str]) -> BotError:
    return UserMistake(
        f"This chart, or this version of it, does not exist: {cut(failure.text)}",
        way_out="Check the version and the chart's name.",
        evidence=failure.evidence,
    )


def _forbidden(failure: Failure, match: re.Match[str]) -> BotError:
    what = re.search(
        r'User "(?P<user>[^"]+)" cannot (?P<what>\w+ resource "[^"]+"(?: in API group "[^"]*")?)',
        failure.text,
    )
    sentence = f"`{what['user']}` cannot {what['what']}" if what else cut(failure.text.splitlines()[0])
    return ClusterForbids(
        f"The cluster does not allow it: {sentence}.",
        way_out="Give the bot's account this permission (its chart has the roles).",
        evidence=failure.evidence,
    )


def _unauthorized(failure: Failure, match: re.Match[str]) -> BotError:
    return ClusterForbids(
        "The cluster does not accept the bot's credentials.",
        way_out="Renew the token or certificate in its kubeconfig.",
        evidence=failure.evidence,
    )


def _owned_elsewhere(failure: Failure, match: re.Match[str]) -> BotError:
    return ManifestRefused(
        f"An object of the chart exists already and belongs to somebody else: {cut(failure.text)}",
        way_out="Remove it, rename it, or label it for this release.",
        evidence=failure.evidence,
    )


def _too_big(failure: Failure, match: re.Match[str]) -> BotError:
    return Permanent(
        f"{failure.subject} is too large for Helm's record of it (1 MiB compressed).",
        way_out="Make the chart smaller: leave files that are not templates out of it by .helmignore.",
        evidence=failure.evidence,
    )


def _dependencies(failure: Failure, match: re.Match[str]) -> BotError:
    return Permanent(
        f"The chart lacks its dependencies: {cut(match[1])}.",
        way_out="Package it after `helm dependency build`.",
        evidence=failure.evidence,
    )


def _kube_version(failure: Failure, match: re.Match[str]) -> BotError:
    return Permanent(
        f"The chart does not fit the cluster's version: {cut(match[0])}.",
        way_out="Upgrade the cluster, or take another version of the chart.",
        evidence=failure.evidence,
    )


def _cancelled(failure: Failure, match: re.Match[str]) -> BotError:
    return HelmFailed(
        f"`helm {failure.command}` of {failure.subject} was stopped; Helm has marked the revision as failed.",
        way_out="Roll back, or do it again.",
        evidence=failure.evidence,
    )


def _unknown_flag(failure: Failure, match: re.Match[str]) -> BotError:
    return HelmTooOld(
        f"This version of Helm does not know `{match[1]}`.",
        way_out="Install Helm 4.",
        evidence=failure.evidence,
    )


_ROWS: tuple[tuple[str, Make], ...] = (
    # Order matters: what wraps another text comes first. Parts of a pattern stand one a line for the eye.
    (r"values don't meet the specifications of the schema\(s\) in the following chart\(s\):", values_refused),
    (r"(?P<event>(?:pre|post)-(?:upgrade|install|rollback|delete)) hooks? failed: ?", hook_failed),
    (r"warning: Hook (?P<event>[\w-]+) \S+ failed: ", hook_failed),
    (r"another operation \(install/upgrade/rollback\) is in progress", _pending),
    (r"release: already exists|secrets \"sh\.helm\.release\.v1\.[^\"]+\" already exists", _pending),
    (r"release: not found|has no deployed releases", _release_not_found),
    (r"release has no (\d+) version", _revision_not_found),
    (r"(?i)kubernetes cluster unreachable.*(?:provide credentials|Unauthorized)", _unauthorized),
    (r"(?i)kubernetes cluster unreachable.*forbidden", _forbidden),
    (r"(?i)kubernetes cluster unreachable.*(?:does not exist|localhost:8080|invalid configuration)", _no_cluster),
    (r"(?i)kubernetes cluster unreachable", _cluster_unreachable),
    (r"is forbidden: User|forbidden: User \"", _forbidden),
    (r"the server has asked for the client to provide credentials|\bUnauthorized\b", _unauthorized),
    (r"invalid ownership metadata|cannot be imported into the current release", _owned_elsewhere),
    (r"(?i)conflict occurred while applying|Apply failed with \d+ conflicts?", apply_conflict),
    (r"Too long: (?:must have|may not be more than|must be no more).*\d+|request is too large", _too_big),
    (r"missing in charts/ directory: ([^\n]+)", _dependencies),
    (r"chart requires kubeVersion: [^\n]+", _kube_version),
    (r"resource \S+ not ready\. status: ", not_ready_in_time),
    (r"YAML parse error on |(?:parse|execution) error (?:at|in) \(|error converting YAML to JSON", render_failed),
    (r"executing \".+\" at <|template: |error calling \w+:|rendering template failed: ", render_failed),
    (r"admission webhook \S+ denied|is invalid: |field is immutable|unknown field", manifest_refused),
    (r"failed to parse (?P<file>\S+): .*?(?P<why>yaml: .+)", _values_not_yaml),
    (r"no matches for kind|cannot patch \"|unable to build kubernetes objects from", manifest_refused),
    (r"strict decoding error|exceeded quota|server-side apply failed", manifest_refused),
    (r"failed to fetch \S+ : 404|no chart version found|MANIFEST_UNKNOWN|: not found$", _no_chart),
    (r"chart \"[^\"]+\" (?:version \"[^\"]*\" )?not found|path \"[^\"]+\" not found", _no_chart),
    (r"is not a valid chart repository|failed to (?:fetch|do request|perform)", _repository),
    (r"unexpected status.* [45]\d\d", _repository),
    (r"(?i)unknown (?:shorthand )?flag: (\S+)", _unknown_flag),
    (r"context canceled", _cancelled),
    (r"timed out waiting for the condition|context deadline exceeded", not_ready_in_time),
    (r"connection refused|connection reset|\bEOF\b|i/o timeout|no such host", _broken_connection),
    (r"TLS handshake timeout|no route to host|etcdserver: |http2: ", _broken_connection),
    (r"server is currently unable", _broken_connection),
)
_TABLE = tuple((re.compile(pattern, re.S | re.M), make) for pattern, make in _ROWS)
