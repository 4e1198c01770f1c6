"""Sample events through the configured pipeline, and what has to come of them: what `inturn test` runs.

cases.yaml ──▶ reading ──▶ model.Case ──▶ running (the live engine, processors that only say what they
                                          would do) ──▶ Told ──▶ comparing ──▶ a diff, or nothing
"""
