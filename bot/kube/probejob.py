"""The probe as a Job in the target's namespace: made once under its name, waited for, its result read, and taken away.

The password goes from the Secret into the container's environment by reference: it is never read here, and never in a spec,
a log or an argument. What the probe says is in ``bot.probe.result``; errors here mean that it could not say anything.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import TypeAdapter, ValidationError

from bot.errors import BotError, Evidence, Permanent, UserMistake
from bot.kube.cluster import Cluster
from bot.kube.failures import Conflict, NotFound
from bot.kube.objects import Json, ObjectRef, annotations_of, ref_of, uid_of
from bot.kube.probewait import HowItEnded, wait_for_probe
from bot.probe.asking import PASSWORD
from bot.probe.result import Kind, ProbeResult, Tls, found_in

LABEL: Final = "aeterna-bot.io/probe"
"""On each Job and pod of ours; the value is what is looked at. Cluster policies and NetworkPolicies can go by it."""
CONTAINER: Final = "probe"
DEADLINE: Final = 120
"""Seconds for the whole Job, the pull of the image included; the probe itself takes at most half a minute."""
KEPT: Final = 600
"""Seconds after which Kubernetes removes an ended Job that we did not."""
LONGEST_NAME: Final = 52
"""Of a Job whose pods' names are still to fit into a label."""
_ASKED: Final = "aeterna-bot.io/probe-digest"
_RESULT: Final = TypeAdapter(ProbeResult)
_LOG_LINES: Final = 40

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SecretKey:
    """Where the password is: a Secret of the target's namespace and the key in it."""

    name: str
    key: str

    def __str__(self) -> str:
        return f"key {self.key} of Secret {self.name}"


@dataclass(frozen=True, kw_only=True)
class ProbeSpec:
    """What to look at, from inside the cluster. ``database`` is Redis' number as text; empty is the server's default.

    ``secret`` None: no password.
    """

    kind: Kind
    host: str
    port: int
    database: str = ""
    user: str = ""
    tls: Tls = "prefer"
    secret: SecretKey | None = None

    @property
    def place(self) -> str:
        return f"{self.host}:{self.port}"


class ProbeNotDone(Permanent):
    """The Job gave no result. ``why`` is for whoever has to decide what to say; the sentence is in the error itself."""

    def __init__(self, message: str, *, why: HowItEnded, way_out: str = "", evidence: Sequence[Evidence] = ()) -> None:
        super().__init__(message, way_out=way_out, evidence=evidence)
        self.why = why


class Probes:
    """Probes in one namespace, with one image.

    ``image`` None: the configuration names none, and every probe is refused with the way out.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        *,
        image: str | None,
        pull_secrets: Sequence[str] = (),
        deadline: float = DEADLINE,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self.image = image
        self._pull_secrets = tuple(pull_secrets)
        self._deadline = deadline

    async def run(self, spec: ProbeSpec, *, name: str, labels: Mapping[str, str]) -> ProbeResult:
        """Look once: create, wait, read, remove. ``name`` is the run's and step's, so that a crash finds the Job again.

        The Job stays only when this is cut off; then the same call goes on with it. Called again later, it looks anew.
        Raises ``ProbeNotDone``, ``Denied`` (quota, policy, webhook), ``Refused`` (a right is missing), ``UserMistake`` (no
        image configured) and whatever the API server's absence means.
        """
        job = await self.create(spec, name=name, labels=labels)
        try:
            result = await self.result(spec, job)
        except BotError:
            await self._remove(job)
            raise
        await self._remove(job)
        return result

    async def create(self, spec: ProbeSpec, *, name: str, labels: Mapping[str, str]) -> Json:
        """The Job of that name, created unless it is there already. Raises ``Permanent`` when another's is there."""
        body = self.job(spec, name=name, labels=labels)
        try:
            return await self._cluster.create(body)
        except Conflict as conflict:
            if not conflict.already_exists:
                raise
        there = await self.find(name)
        if there is None:
            raise NotFound(f"Job {name} was there and is gone: it is being removed.", way_out="Try again.")
        if annotations_of(there).get(_ASKED) != annotations_of(body)[_ASKED]:
            raise Permanent(
                f"There is a Job {name} in namespace {self._namespace} already, and it asks something else.",
                way_out=f"Look whose it is: kubectl --namespace {self._namespace} describe job {name}",
            )
        return there

    async def find(self, name: str) -> Json | None:
        """The Job of that name, if it is there: what a reconcile wants to know."""
        return await self._cluster.get("batch/v1", "Job", name, self._namespace)

    async def result(self, spec: ProbeSpec, job: Json) -> ProbeResult:
        """What the Job's pod says in the end, waited for by watches. Removes nothing. Raises as ``run`` does."""
        ended = await wait_for_probe(self._cluster, job, container=CONTAINER, deadline=self._deadline)
        if ended.how != "ended":
            raise ProbeNotDone(
                f"The look at {spec.place} did not take place: {ended.said}.",
                why=ended.how,
                way_out=self._way_out(ended.how, spec),
            )
        log = await self._cluster.pod_logs(self._namespace, ended.pod, CONTAINER, tail_lines=_LOG_LINES)
        return self._read(spec, log, ended.said)

    def _read(self, spec: ProbeSpec, log: str, said: str) -> ProbeResult:
        found = found_in(log)
        try:
            if found is not None:
                return _RESULT.validate_json(found)
        except ValidationError:
            pass  # then it is no result of this probe's
        raise ProbeNotDone(
            f"The look at {spec.place} gave no result: {said}.",
            why="no_result",
            way_out=self._way_out("no_result", spec),
            evidence=[Evidence("The end of the probe's log", log or "(empty)")],
        )

    async def _remove(self, job: Json) -> None:
        """Take the Job and its pod away. What cannot be removed now goes by itself after ``KEPT``."""
        try:
            await self._cluster.delete(_ref(job), uid=uid_of(job))
        except Conflict:
            _log.info("another Job has the name %s by now", _ref(job).name)
        except BotError as error:
            _log.warning("the probe's Job %s stays for %d s: %s", _ref(job).name, KEPT, error.message)

    def job(self, spec: ProbeSpec, *, name: str, labels: Mapping[str, str]) -> Json:
        """The Job's manifest. It keeps to PodSecurity's ``restricted``, and has no account in the cluster."""
        if self.image is None:
            raise UserMistake(
                "There is no image to look into the cluster with.",
                way_out="Set probe.image in the configuration: the image of the bot itself has what it takes.",
            )
        if len(name) > LONGEST_NAME:
            raise ValueError(f"{name} is longer than {LONGEST_NAME} characters")
        marks = {**labels, "app.kubernetes.io/managed-by": "aeterna-bot", LABEL: spec.kind}
        pod: Json = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [_container(spec, self.image)],
        }
        if self._pull_secrets:
            pod["imagePullSecrets"] = [{"name": one} for one in self._pull_secrets]
        body: Json = {
            "backoffLimit": 0,
            "activeDeadlineSeconds": int(self._deadline),
            "ttlSecondsAfterFinished": KEPT,
            "template": {"metadata": {"labels": marks}, "spec": pod},
        }
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]
        meta = {"name": name, "namespace": self._namespace, "labels": marks, "annotations": {_ASKED: digest}}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": body}

    def _way_out(self, why: HowItEnded, spec: ProbeSpec) -> str:
        namespace = f"namespace {self._namespace}"
        match why:
            case "image":
                return f"Set probe.image to an image that {namespace} can pull, and probe.pull_secrets if it needs credentials."
            case "secret":
                return f"Create it in {namespace}: {spec.secret}." if spec.secret else f"Look at {namespace}."
            case "deadline" | "gone":
                return f"Look why pods do not run in {namespace}, and try again."
            case _:
                return "probe.image has to be the image of this bot's version, or one that has it."


def _ref(job: Json) -> ObjectRef:
    return ref_of({"apiVersion": "batch/v1", "kind": "Job", **job})


def _container(spec: ProbeSpec, image: str) -> Json:
    asked = {"host": spec.host, "port": str(spec.port), "database": spec.database, "user": spec.user, "tls": spec.tls}
    command = ["python", "-P", "-m", "bot.probe", spec.kind]
    container: Json = {
        "name": CONTAINER,
        "image": image,
        "command": command + [f"--{name}={value}" for name, value in asked.items() if value],
        "env": [{"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"cpu": "500m", "memory": "192Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if spec.secret is not None:
        reference = {"name": spec.secret.name, "key": spec.secret.key}
        container["env"].append({"name": PASSWORD, "valueFrom": {"secretKeyRef": reference}})
    return container
