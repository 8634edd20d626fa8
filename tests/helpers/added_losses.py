"""The training loop with a step that computes nothing: it adds given losses to one parameter."""

import jax
import jax.numpy as jnp
import numpy as np
from conftest import TINY

from ecgjax.data.batches import pretraining_batches
from ecgjax.data.seen import Seen
from ecgjax.preprocessing import Preprocessing
from ecgjax.train.loop import Run, train
from ecgjax.train.manifest import encoder_config
from ecgjax.train.sharding import data_mesh
from ecgjax.train.state import TrainState


def run(records, losses, workdir, hooks=None, gradients=None, **settings):
    """Runs the loop; resumes if the workdir holds a run.

    Args:
      records: a prepared data set.
      losses: loss of each step.
      workdir: folder of the run.
      hooks: functions that are called before a step, by the number of the step.
      gradients: by the number of a step, what its gradient adds to the parameter in place of the
        loss.
      settings: further settings of `Run`; "num_steps", if it is not the number of losses.
    """

    def step_fn(state, stack, key, signals):
        step = int(state.step)
        if hooks and step + 1 in hooks:
            hooks[step + 1]()
        change = jnp.asarray((gradients or {}).get(step + 1, losses[step]), jnp.float32)
        params = {"encoder": {"w": state.params["encoder"]["w"] + change}}
        loss = jnp.asarray(losses[step])
        finite = (jnp.isfinite(loss) & jnp.isfinite(change))[None]
        return state.replace(step=state.step + 1, params=params), {"loss": loss, "finite": finite}

    state = TrainState(jnp.zeros((), jnp.int32), {"encoder": {"w": jnp.ones(3)}}, {}, ())
    indices = records.split("validation")
    batches = pretraining_batches(records, [indices], examples="single", batch_size=8, seed=0)
    num_steps = settings.pop("num_steps", len(losses))
    settings = {"save_every": 2, "log_every": 3, **settings}
    seen = Seen(np.ones(1, np.uint64), np.ones(1, np.uint64))
    config = encoder_config("compact_resnet", TINY, Preprocessing())
    return train(
        step_fn,
        state,
        batches,
        num_steps=num_steps,
        run=Run(workdir, config, "test", seen, **settings),
        key=jax.random.key(0),
        mesh=data_mesh(),
    )
