"""The patch that client-side apply sends, as Helm makes it: from the old manifest, the live object and the new manifest.

Pure. Helm sends a strategic merge patch for Kubernetes' own kinds; this one takes lists whole, which the API server judges
alike but for what others have put into a list (a sidecar).
"""

from __future__ import annotations

from typing import Any

from bot.kube.objects import Json

_OWN_GROUPS = frozenset({
    "", "admissionregistration.k8s.io", "apps", "autoscaling", "batch", "certificates.k8s.io", "coordination.k8s.io",
    "discovery.k8s.io", "events.k8s.io", "extensions", "flowcontrol.apiserver.k8s.io", "networking.k8s.io", "node.k8s.io",
    "policy", "rbac.authorization.k8s.io", "resource.k8s.io", "scheduling.k8s.io", "storage.k8s.io",
})  # fmt: skip
"""The groups of client-go's scheme: their kinds are merged three ways, all others two ways (Helm 4.3.1, pkg/kube/client.go)."""


def client_side_patch(old: Json, live: Json, new: Json) -> Json:
    """A JSON merge patch (RFC 7386) from what is to what shall be; empty when Helm would send nothing.

    For a custom resource the live object is not looked at: what somebody changed stays unless the chart changes it too.
    """
    group = str(new.get("apiVersion", "")).rpartition("/")[0]
    if group not in _OWN_GROUPS:
        return _joined(_set(old, new, whole=True), _removed(old, new))
    return _joined(_set(live, new, whole=False), _removed(old, new))


def _set(before: Json, new: Json, *, whole: bool) -> Json:
    """What ``new`` sets otherwise. Unless ``whole``, a list that says no more than the one before is left alone."""
    patch: Json = {}
    for key, value in new.items():
        was = before.get(key)
        if isinstance(value, dict) and isinstance(was, dict):
            if below := _set(was, value, whole=whole):
                patch[key] = below
        elif key not in before or not (was == value if whole else _says(was, value)):
            patch[key] = value
    return patch


def _removed(old: Json, new: Json) -> Json:
    """Nulls for what the old manifest set and the new one does not."""
    patch: Json = {}
    for key, was in old.items():
        if key not in new:
            patch[key] = None
        elif isinstance(was, dict) and isinstance(new[key], dict) and (below := _removed(was, new[key])):
            patch[key] = below
    return patch


def _joined(one: Json, other: Json) -> Json:
    joined = dict(one)
    for key, value in other.items():
        below = joined.get(key)
        joined[key] = _joined(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return joined


def _says(live: Any, new: Any) -> bool:
    """Whether the live value says all that the new one does; the API server adds its defaults to it."""
    if isinstance(new, dict):
        return isinstance(live, dict) and all(key in live and _says(live[key], value) for key, value in new.items())
    if isinstance(new, list):
        return (
            isinstance(live, list)
            and len(live) == len(new)
            and all(_says(was, item) for was, item in zip(live, new, strict=True))
        )
    return bool(live == new)
