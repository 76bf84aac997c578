"""What the registry decides about versions: bumps, fits, notes, stages, gates, retention.

Pure: manifests, facts and `now_s` in, verdicts out; `fleet/` keeps and carries out what follows.
"""
