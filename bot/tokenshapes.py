"""The shapes of secrets that say themselves what they are: prefixes of well-known tokens, keys, hashes of passwords. Data only.

A shape is here when it is distinct enough to be found in any text. Everything else is known by the name of its key
(``bot.redaction``), or because the bot has read it where it is a secret.
"""

from __future__ import annotations

import re

_END = r"(?![A-Za-z0-9_-])"
_TOKENS = (
    # Slack, and its incoming webhooks
    r"xox[abeoprs]-[A-Za-z0-9-]{8,}",
    r"xapp-[A-Za-z0-9-]{8,}",
    r"xwfp-[A-Za-z0-9-]{8,}",
    r"hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_+-]{20,}",
    # AWS: key ids
    r"(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}" + _END,
    # Google: API keys, OAuth client secrets, access and refresh tokens
    r"AIza[0-9A-Za-z_-]{35}",
    r"GOCSPX-[A-Za-z0-9_-]{20,}",
    r"ya29\.[A-Za-z0-9_-]{20,}",
    r"1//0[A-Za-z0-9_-]{30,}",
    # Azure: client secrets of Entra ID
    r"[A-Za-z0-9_~.-]{3}[78]Q~[A-Za-z0-9_~.-]{31,34}",
    # GitHub, GitLab
    r"gh[pousr]_[A-Za-z0-9]{30,}",
    r"github_pat_[A-Za-z0-9_]{30,}",
    r"gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent|oas|imt)-[A-Za-z0-9_.-]{16,}",
    # package registries and images
    r"npm_[A-Za-z0-9]{30,}",
    r"pypi-AgE[A-Za-z0-9_-]{16,}",
    r"rubygems_[a-f0-9]{40,}",
    r"dckr_(?:pat|oat)_[A-Za-z0-9_-]{20,}",
    # models: OpenAI, Anthropic, Hugging Face, Groq, Replicate
    r"sk-[A-Za-z0-9_-]{20,}",
    r"hf_[A-Za-z0-9]{30,}",
    r"gsk_[A-Za-z0-9]{30,}",
    r"r8_[A-Za-z0-9]{30,}",
    # payments, mail, messages
    r"(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}",
    r"whsec_[A-Za-z0-9+/=]{20,}",
    r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    r"key-[0-9a-f]{32}" + _END,
    r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}",
    # infrastructure: Vault, Terraform, DigitalOcean, Databricks, Grafana, New Relic, Linear, Postman, Shopify
    r"hv[sbr]\.[A-Za-z0-9_-]{20,}",
    r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{40,}",
    r"do[opr]_v1_[a-f0-9]{40,}",
    r"dapi[a-f0-9]{32}",
    r"gl(?:sa|c)_[A-Za-z0-9_+/=-]{30,}",
    r"NRAK-[A-Z0-9]{20,}",
    r"lin_api_[A-Za-z0-9]{30,}",
    r"PMAK-[a-f0-9]{20,}-[a-f0-9]{30,}",
    r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{30,}",
    r"AGE-SECRET-KEY-1[0-9A-Z]{50,}",
    # Kubernetes: bootstrap tokens; JSON web tokens
    r"[a-z0-9]{6}\.(?=[a-z]*[0-9])[a-z0-9]{16}" + _END,
    r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*",
)
TOKEN = re.compile(r"(?<![A-Za-z0-9_])(?:" + "|".join(_TOKENS) + ")")
PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
PASSWORD_HASH = re.compile(
    r"\$(?:apr1|2[abxy]?|[156y]|argon2(?:id?|d)|scrypt|7|sha1|pbkdf2[a-z0-9-]*)\$[A-Za-z0-9./+$,=_-]{12,}|\{S?SHA(?:256|512)?\}[A-Za-z0-9+/]{20,}={0,2}"
)
SIGNED = re.compile(
    r"(?P<name>[?&;](?:sig|signature|x-amz-signature|x-amz-security-token|x-goog-signature)=)[^&\s\"']+", re.I
)
"""The part of an address that lets everybody in who has it (Azure's SAS, presigned addresses of AWS and Google)."""
