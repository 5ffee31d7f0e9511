//! A job as others see it: the record's next segment, and `mizar ps`.

use mizar_api::{LiveJob, LiveStep, LiveTask};
use mizar_core::ids::JobId;
use mizar_record::model::Event;

use crate::registry::{Job, Task};

impl Job {
    /// Everything known, as events: how a new segment begins after a restart.
    pub(crate) fn retell(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for step in &self.steps {
            events.push(Event::Step(step.info.clone()));
            events.extend(step.tasks.iter().map(|task| Event::Task(task.info.clone())));
        }
        events.extend(self.gpus.iter().cloned().map(Event::Gpu));
        events.extend(self.files.iter().cloned().map(Event::File));
        events.extend(self.script.iter().cloned().map(Event::Script));
        events
    }

    /// What `mizar ps` shows.
    pub(crate) fn live(&self) -> LiveJob {
        let task = |task: &Task| LiveTask {
            rank: task.info.rank,
            pid: task.info.pid,
            running: task.info.end_ns.is_none(),
            cpus_busy: task.live.cpus_busy,
            memory_bytes: task.live.memory_bytes,
            io_bytes_per_s: task.live.io_bytes_per_s,
            threads: task.live.threads,
            gpus: task.gpus.clone(),
            split: task.communication.as_ref().map(|(split, _)| *split),
            call: task
                .communication
                .as_ref()
                .and_then(|(_, call)| call.clone()),
        };
        let steps = self.steps.iter().filter(|step| step.info.end_ns.is_none());
        LiveJob {
            job: JobId(self.info.id),
            uid: self.info.uid,
            name: self.info.name.clone(),
            node: self.node.clone(),
            nodes: self.info.nodes.clone(),
            start_ns: self.info.start_ns,
            cpus: self.job_cpus,
            memory_limit_bytes: self.memory_limit_bytes,
            steps: steps
                .map(|step| LiveStep {
                    step: step.info.step,
                    task_count: step.info.task_count,
                    tasks: step.tasks.iter().map(task).collect(),
                })
                .collect(),
            gpus: self.live_gpus.clone(),
            hang: self.hang.clone(),
        }
    }
}
