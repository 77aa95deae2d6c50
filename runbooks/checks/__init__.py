"""The read-only checks of a plan, one module a subject. A check adds findings, facts, bindings and files, and changes nothing."""
