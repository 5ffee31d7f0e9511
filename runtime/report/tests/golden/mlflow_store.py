"""Writes an MLflow file store as itwinai does, with MLflow itself: mlflow_store.py FOLDER.

Called by tests/mlflow_store.rs, which expects these figures: strategy ddp on 2 and 4 ranks,
epochs of 3T, T, T, T, T seconds with T = 8 s / ranks, one GPU a worker at 200 W read every 2 s
though the parameter says 1 s, busy for 90 % of the time; a run whose ranks disagree on the loss.
"""

import os
import sys

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"

from mlflow.tracking import MlflowClient  # noqa: E402

START_MS = 1_790_000_000_000
PROFILE = """name,node_id,self_cuda_time_total,cuda_time_total,cuda_time_total_str,calls,strategy,num_gpus,global_rank
"void gemm<float, 4>(int)",0,700.0,700.0,700us,7,ddp,{size},{rank}
nccl:all_reduce,0,300.0,300.0,300us,3,ddp,{size},{rank}
"""


def train(client, experiment, name, size, diverge=False):
    time_s = 8.0 / size
    epochs = [3 * time_s, time_s, time_s, time_s, time_s]
    start = START_MS
    end = start + int(1000 * sum(epochs))
    parent = client.create_run(experiment, start_time=start, run_name=name)
    for rank in range(size):
        worker = client.create_run(
            experiment, start_time=start, run_name="worker_0 (main)" if rank == 0 else f"worker_{rank}",
            tags={"mlflow.parentRunId": parent.info.run_id})
        run = worker.info.run_id
        for key, value in {"strategy": "ddp", "global_rank": rank, "global_world_size": size, "probing_interval": 1}.items():
            client.log_param(run, key, value)
        now = start
        for epoch, seconds in enumerate(epochs):
            now += int(1000 * seconds)
            if rank == 0:
                client.log_metric(run, "epoch_time_s", seconds, timestamp=now, step=epoch)
            loss = 1.0 / (epoch + 1) + (0.01 * rank if diverge else 0.0)
            client.log_metric(run, "global_validation_loss_epoch", loss, timestamp=now, step=epoch)
        for second in range(0, int((end - start) / 1000) + 1, 2):
            client.log_metric(run, "gpu_power_W", 200.0, timestamp=start + 1000 * second, step=second)
            client.log_metric(run, "gpu_utilization_percent", 90.0, timestamp=start + 1000 * second, step=second)
        client.log_text(run, PROFILE.format(size=size, rank=rank), "torch_profiling_averages/torch_profiling_averages.csv")
        client.set_terminated(run, end_time=end)
    client.set_terminated(parent.info.run_id, end_time=end)


def main():
    client = MlflowClient("file://" + sys.argv[1])
    experiment = client.create_experiment("virgo")
    train(client, experiment, "ddp-2", 2)
    train(client, experiment, "ddp-4", 4)
    train(client, experiment, "diverged", 4, diverge=True)
    gone = client.create_run(experiment, run_name="deleted")
    client.log_metric(gone.info.run_id, "epoch_time_s", 1.0)
    client.delete_run(gone.info.run_id)


main()
