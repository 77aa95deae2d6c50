"""Stand-ins for what cannot run in the throwaway cluster: Aeterna's server, Qdrant, OPAL and Cedar, and the probe's pods.

kwok's port-forward leads every pod's port here; the Host header says which pod is meant (``directory``).
"""

from __future__ import annotations

from dev.standins.client import StandinControl
from dev.standins.directory import FixedPods, Pod, PodDirectory
from dev.standins.running import Standins
from dev.standins.state import Switches

__all__ = ["FixedPods", "Pod", "PodDirectory", "StandinControl", "Standins", "Switches"]
