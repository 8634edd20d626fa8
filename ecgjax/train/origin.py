"""Origin of an encoder in a checkpoint's config: published weights, or the run it started from.

published   of weights that were imported: title, file, SHA-256, licence, citation, trained_on
init        of weights that another run continued: fingerprint, data sets, and the origin before
"""

KEPT = ("data", "start_data", "waveforms", "published", "init")
"""Entries of a config that tell what its encoder has seen."""


def origin(config: dict, weights: str) -> dict:
    """Returns the entry "init" for the config of a run that starts from an encoder.

    Args:
      config: config of the checkpoint that holds the encoder.
      weights: the encoder's fingerprint.
    """
    return {"weights": weights, **{name: config[name] for name in KEPT if name in config}}


def inherited(config: dict) -> dict:
    """Returns the origin of an encoder for the config of a checkpoint with another head."""
    return {name: config[name] for name in ("published", "init") if name in config}


def ancestors(config: dict) -> list[dict]:
    """Returns a checkpoint's config and its origins, the youngest first."""
    chain = [config]
    while "init" in chain[-1]:
        chain.append(chain[-1]["init"])
    return chain


def unknown_past(config: dict) -> str:
    """Returns a warning if nobody can tell which recordings an encoder has seen, or ""."""
    for entry in ancestors(config):
        if published := entry.get("published"):
            weights = f"{published['title']}, trained on {published['trained_on']}"
            return (
                f"WARNING: these are the published weights {weights}; nobody can tell which "
                f"recordings they have seen, so leaks cannot be found"
            )
    return ""
