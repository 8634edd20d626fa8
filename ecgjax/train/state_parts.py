"""The parts of a state that a checkpoint holds: the encoder, and what else resuming needs."""

from ecgjax.train.state import TrainState


def split_state(state: TrainState) -> dict[str, dict]:
    """Splits a state into the parts encoder and train."""
    trees = _swap_result({"params": state.params, **state.collections})
    encoder = {name: tree["encoder"] for name, tree in trees.items() if "encoder" in tree}
    others = {
        name: {part: value for part, value in tree.items() if part != "encoder"}
        for name, tree in trees.items()
    }
    train = {"step": state.step, "variables": others, "opt_state": state.opt_state}
    return {"encoder": encoder, "train": train}


def join_state(parts: dict[str, dict]) -> TrainState:
    """Inverse of `split_state`."""
    train = parts["train"]
    trees = {name: dict(tree) for name, tree in train["variables"].items()}
    for name, tree in parts["encoder"].items():
        trees[name]["encoder"] = tree
    trees = _swap_result(trees)
    return TrainState(train["step"], trees.pop("params"), trees, train["opt_state"])


def _swap_result(trees: dict) -> dict:
    """Swaps the encoder that is trained and the one in "result", if there is one."""
    if "result" not in trees:
        return trees
    trained = trees["params"]
    result = trees["result"]["params"]
    return {
        **trees,
        "params": {**trained, "encoder": result["encoder"]},
        "result": {"params": {**result, "encoder": trained["encoder"]}},
    }


def encoder_variables(state: TrainState) -> dict:
    """Returns the variables of the encoder that a checkpoint of the state would hold."""
    return split_state(state)["encoder"]
